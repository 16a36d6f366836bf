// Owns: when this node fetches the state of another one, and what it keeps for those that fetch its own.
// Does not own: the transfer (snapshot-exchange.ts), what is installed (the state machine and the replica).
import type { AetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { Journal } from "./journal.ts";
import { SnapshotExchange, type SnapshotExchangePorts } from "./snapshot-exchange.ts";
import type { SnapshotProgress } from "./snapshot-receiver.ts";
import type { ConsensusMark, InstalledSnapshot } from "./state-machine.ts";

/** After a transfer that failed; another node may be the furthest by then. */
const RETRY_MS = 1 * SECOND_MS;

export interface SnapshotCatchUpPorts extends Omit<SnapshotExchangePorts, "events"> {
  readonly clock: Clock;
  readonly journal: Pick<Journal, "pin">;
  mayServe(): boolean;
  isStillWanted(appliedSlots: number): boolean;
  onInstalled(mark: ConsensusMark, installed: InstalledSnapshot): void;
  /** This node's disk failed. */
  onDiskFailure(error: AetherError): void;
  onGarbage(from: NodeId, bytes: number): void;
}

export class SnapshotCatchUp {
  private readonly ports: SnapshotCatchUpPorts;
  private readonly exchange: SnapshotExchange;
  /** Of the nodes that fetch from here: the log after their snapshot is kept until they have it. */
  private readonly pins = new Map<NodeId, () => void>();
  private readonly tasks = new Set<Promise<void>>();
  private notBeforeMs = 0;

  /** Attaches to the channel: before the first message can arrive. */
  constructor(ports: SnapshotCatchUpPorts) {
    const { journal, mayServe, isStillWanted, onInstalled, onGarbage } = ports;
    this.ports = ports;
    this.exchange = new SnapshotExchange({
      ...ports,
      track: (task) => this.track(task),
      events: {
        onSendStart: (to, appliedSlots) => this.pins.set(to, journal.pin(appliedSlots)),
        onSendEnd: (to) => this.unpin(to),
        mayServe,
        isStillWanted,
        onInstalled,
        onFailed: (error) => this.failed(error),
        onGarbage,
      },
    });
  }

  get progress(): SnapshotProgress | undefined {
    return this.exchange.receiver.status();
  }

  /** The log of `node` begins after what this node has: its state is fetched, unless a fetch is under way. */
  want(node: NodeId): void {
    const { receiver } = this.exchange;
    if (!receiver.isBusy && this.ports.clock.nowMs() >= this.notBeforeMs) receiver.fetch(node);
  }

  /** Ends what is under way and waits for what it still has to do with the disk. */
  async close(): Promise<void> {
    this.exchange.close();
    while (this.tasks.size > 0) await Promise.all(this.tasks);
  }

  private failed(error: AetherError): void {
    this.notBeforeMs = this.ports.clock.nowMs() + RETRY_MS;
    if (error.code === "E_DISK") this.ports.onDiskFailure(error);
  }

  private unpin(to: NodeId): void {
    this.pins.get(to)?.();
    this.pins.delete(to);
  }

  private track(task: Promise<void>): void {
    this.tasks.add(task);
    this.ports.track(task);
    // ignored: whoever started the task handles its failure; here only its end counts
    void task.catch(() => undefined).then(() => this.tasks.delete(task));
  }
}
