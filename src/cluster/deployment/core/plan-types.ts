// Owns: what the leader plans from, and what a plan is. Does not own: making one (reconcile.ts).
import type { ArtifactId, Digest, NodeId } from "../../../base/ids.ts";
import type { ResolvedBlueprint } from "../../../slices/core/blueprint.ts";
import type { WaitingRollout } from "../../../slices/core/blueprint-status.ts";
import type { InstanceFailure, InstanceRow } from "../../../slices/core/instance-row.ts";
import type { RolloutRow } from "../../../slices/core/rollout-row.ts";
import type { RolloutTally } from "../../rollouts/core/version-tally.ts";
import type { PlanNode, UnplacedReason } from "./placement.ts";

/** Where a row of `slices/…` is, whatever it says. */
export interface PlanPlace {
  readonly node: NodeId;
  readonly artifact: ArtifactId;
  readonly index: number;
  /** Guards the command that the plan makes of it. */
  readonly modRevision: number;
}

/** One row of `slices/…`. */
export interface PlanInstance extends PlanPlace {
  readonly row: InstanceRow;
  /** Heap that it may take, in bytes; 0 when the revision that it was made from is not there any more. */
  readonly heapBytesMax: number;
  /** How long the leader has seen the row as it is, by its own monotonic clock. */
  readonly unchangedForMs: number;
}

/** How long an instance may stay in a state in which its node is at work, before the leader takes it for stuck. */
export interface StallLimits {
  /** A command that its node has not begun: worth a line in the log. */
  readonly begin: number;
  readonly LOADING: number;
  readonly ACTIVATING: number;
  readonly DEACTIVATING: number;
  readonly UNLOADING: number;
}

/** One row of `rollouts/…`. */
export interface PlanRollout {
  readonly blueprint: string;
  readonly slice: string;
  /** Undefined for a row that cannot be read: the next rollout of the slice writes it anew. */
  readonly row: RolloutRow | undefined;
  readonly modRevision: number;
  /** How long the leader has seen the row as it is, by its own monotonic clock. */
  readonly unchangedForMs: number;
  /** How calls went while the row was as it is; undefined while nobody counts them. */
  readonly tally: Pick<RolloutTally, "target" | "previous"> | undefined;
}

export interface PlanInput {
  /** The current revision of every blueprint that is not deleted and can be read, each slice in its scaled count. */
  readonly blueprints: readonly ResolvedBlueprint[];
  /** Blueprints that are there and cannot be read: what belongs to them is left as it is. */
  readonly frozen: ReadonlySet<string>;
  readonly nodes: readonly PlanNode[];
  readonly instances: readonly PlanInstance[];
  readonly rollouts: readonly PlanRollout[];
  /** A revision of a blueprint, while it is kept. */
  readonly revisionOf: (name: string, revision: number) => ResolvedBlueprint | undefined;
  /** Rows that are there and cannot be read: each is left alone and counts as one instance of its artifact. */
  readonly unreadable: readonly PlanPlace[];
  readonly stallMs: StallLimits;
}

export interface LoadCommand {
  readonly kind: "load";
  readonly node: NodeId;
  readonly artifact: ArtifactId;
  readonly index: number;
  readonly slice: string;
  readonly blueprint: string;
  readonly revision: number;
  readonly specDigest: Digest;
  readonly generation: number;
  readonly attempt: number;
  /** Why the attempt before failed. */
  readonly error?: InstanceFailure;
  /** The row to overwrite; 0: there must be none. */
  readonly modRevision: number;
  /** An instance of a node that is gone, whose place this one takes: its row goes with the same write. */
  readonly instead?: PlanInstance;
  /** The row of the slice's rollout as the plan saw it; 0: there must be none. */
  readonly rolloutRevision: number;
}

/** A row of `rollouts/…` to be written before anything else is done with its slice, or deleted. */
export interface RolloutCommand {
  readonly blueprint: string;
  readonly slice: string;
  /** When it is written is for the writer; undefined: the blueprint has no such slice any more. */
  readonly row: Omit<RolloutRow, "sinceMs"> | undefined;
  readonly modRevision: number;
}

export type PlanCommand =
  | LoadCommand
  | { readonly kind: "activate" | "deactivate" | "unload"; readonly instance: PlanInstance }
  /** Delete the row of a node that is gone. */
  | { readonly kind: "forget"; readonly instance: PlanPlace };

/** Instances that no ready node may have. */
export interface Unplaced {
  readonly blueprint: string;
  readonly slice: string;
  readonly count: number;
  readonly reason: UnplacedReason;
}

export interface Plan {
  readonly rollouts: readonly RolloutCommand[];
  readonly commands: readonly PlanCommand[];
  readonly unplaced: readonly Unplaced[];
  /** Rollouts that have to wait. */
  readonly waiting: readonly WaitingRollout[];
  /** Instances whose nodes are on duty and have not moved them for too long; a person may want to know. */
  readonly stalled: readonly PlanInstance[];
  /** When a back-off ends and planning again gives more; undefined when only a change can. */
  readonly againInMs: number | undefined;
}
