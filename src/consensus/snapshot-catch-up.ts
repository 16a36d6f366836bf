// Owns: when this node fetches the state of another one, and what it keeps for those that fetch its own.
// Does not own: the transfer (snapshot-exchange.ts), what is installed (the state machine and the replica).
import type { AetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { MINUTE_MS, SECOND_MS } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import { SnapshotExchange, type SnapshotExchangePorts } from "./snapshot-exchange.ts";
import type { SnapshotProgress } from "./snapshot-receiver.ts";
import type { ConsensusMark, InstalledSnapshot } from "./state-machine.ts";

/** After a transfer that failed; another node may be the furthest by then. */
const RETRY_MS = 1 * SECOND_MS;
/** A node that has got a whole state has this long to make it its own and to ask for the log after it. */
const INSTALL_MS_MAX = 1 * MINUTE_MS;

export interface SnapshotCatchUpPorts extends Omit<SnapshotExchangePorts, "events"> {
  readonly clock: Clock;
  /** How far this peer is, by what it said last. */
  appliedBy(node: NodeId): number;
  mayServe(): boolean;
  isStillWanted(appliedSlots: number): boolean;
  onInstalled(mark: ConsensusMark, installed: InstalledSnapshot): void;
  /** This node's disk failed. */
  onDiskFailure(error: AetherError): void;
  onGarbage(from: NodeId, bytes: number): void;
}

/** The log is kept from `slot` on. */
interface Pin {
  readonly slot: number;
  /** Undefined while the transfer is under way. */
  untilMs: number | undefined;
}

export class SnapshotCatchUp {
  private readonly ports: SnapshotCatchUpPorts;
  private readonly exchange: SnapshotExchange;
  /** Of the nodes that fetch from here: the log after their snapshot is kept until they have it. */
  private readonly pins = new Map<NodeId, Pin>();
  private readonly tasks = new Set<Promise<void>>();
  private notBeforeMs = 0;

  /** Attaches to the channel: before the first message can arrive. */
  constructor(ports: SnapshotCatchUpPorts) {
    const { mayServe, isStillWanted, onInstalled, onGarbage } = ports;
    this.ports = ports;
    this.exchange = new SnapshotExchange({
      ...ports,
      track: (task) => this.track(task),
      events: {
        onSendStart: (to, slot) => this.pins.set(to, { slot, untilMs: undefined }),
        onSendEnd: (to, result) => this.sendEnded(to, result),
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

  /** The log is needed from this slot on by nodes that fetch this node's state, or have just done so. */
  get pinned(): number {
    const nowMs = this.ports.clock.nowMs();
    let lowest = Number.POSITIVE_INFINITY;
    for (const [node, { slot, untilMs }] of this.pins) {
      const isOver = untilMs !== undefined && (nowMs >= untilMs || this.ports.appliedBy(node) >= slot);
      if (isOver) this.pins.delete(node);
      else lowest = Math.min(lowest, slot);
    }
    return lowest;
  }

  /** The log begins here now: transfers that it was too long for end, and begin again when they are asked for. */
  logBegins(slot: number): void {
    this.exchange.sender.logBegins(slot);
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

  private sendEnded(to: NodeId, result: "complete" | "broken"): void {
    const pin = this.pins.get(to);
    if (result === "broken" || pin === undefined) this.pins.delete(to);
    else pin.untilMs = this.ports.clock.nowMs() + INSTALL_MS_MAX;
  }

  private track(task: Promise<void>): void {
    this.tasks.add(task);
    this.ports.track(task);
    // ignored: whoever started the task handles its failure; here only its end counts
    void task.catch(() => undefined).then(() => this.tasks.delete(task));
  }
}
