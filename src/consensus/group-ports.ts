// Owns: what a consensus group is told and what it needs of the world.
import type { AetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { AppendLog } from "../env/append-log.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import type { PeerMessaging } from "../net/peer-messaging.ts";
import type { LogLimits } from "./core/journal-index.ts";
import type { ConsensusMetrics } from "./metrics.ts";
import type { ConsensusObserver, PlantedFault, TestChoices } from "./observer.ts";
import type { ReplicatedStateMachine } from "./state-machine.ts";

export interface GroupConfig {
  readonly cluster: string;
  readonly node: NodeId;
  /** The first voters, in the same order on every node; none for a node that joins a running cluster. */
  readonly voters: readonly NodeId[];
  /** Where peers reach this node. */
  readonly address: string;
  /** W. Fixed when the cluster forms. */
  readonly windowSlots: number;
  /** P. */
  readonly pipelineSlots: number;
  /** How much of the applied log is kept for others; tests set less. */
  readonly logLimits?: LogLimits;
  readonly observer?: ConsensusObserver;
  readonly planted?: PlantedFault;
  readonly choices?: TestChoices;
}

/** For a start that may take long. */
export interface StartPorts {
  /** Cancels it. */
  readonly signal: AbortSignal;
  /** Told now and then how many records of the journal have been read. */
  onReplay(records: number, of: number): void;
}

export interface GroupPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics?: ConsensusMetrics;
  readonly messaging: PeerMessaging;
  readonly wal: AppendLog;
  readonly stateMachine: ReplicatedStateMachine;
  readonly starting?: StartPorts;
  /** Told of every piece of work that ends later, for worlds that must wait for it. */
  track?(task: Promise<void>): void;
  /** The node must stop: its disk failed, the others refuse it, or an invariant is broken. Called at most once. */
  onFatal(error: AetherError): void;
}
