// Owns: fetching one snapshot from another node and installing it: asks, writes chunks as they come, asks again when
// nothing comes, gives up when that does not help. Does not own: whether one is needed and from whom (the group), the
// channel (snapshot-exchange.ts), what is in a chunk (the state machine).
import { AetherError, toAetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import type { SnapshotMessage } from "./core/snapshot-message.ts";
import { CREDIT_CHUNKS } from "./snapshot-sender.ts";
import type { ConsensusMark, InstalledSnapshot, ReplicatedStateMachine, SnapshotWriter } from "./state-machine.ts";

/** Nothing came for this long: the other node is asked to go on. */
const ASK_AGAIN_MS = 1 * SECOND_MS;
/** No further chunk is on disk after this long: another node may do better. */
export const STANDSTILL_MS_MAX = 30 * SECOND_MS;

export interface SnapshotReceiverPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly stateMachine: Pick<ReplicatedStateMachine, "beginInstall">;
  send(to: NodeId, message: SnapshotMessage): boolean;
  /** Every piece of work that ends later, for worlds that must wait for it. */
  track(task: Promise<void>): void;
  /** Asked when the snapshot is complete on disk: false gives it up, as when the log has got further meanwhile. */
  isStillWanted(appliedSlots: number): boolean;
  /** The state is that of the snapshot, since a moment ago. */
  onInstalled(mark: ConsensusMark, installed: InstalledSnapshot): void;
  /** Nothing was installed. E_DISK: this node must stop. Anything else: another node may be asked. */
  onFailed(error: AetherError): void;
}

/** How far a transfer is, for people. */
export interface SnapshotProgress {
  readonly from: NodeId;
  readonly stage: "asking" | "waiting" | "receiving" | "finishing";
  /** On disk. */
  readonly chunks: number;
  readonly bytes: number;
  /** Absent when the other node does not know. */
  readonly bytesEstimated?: number;
}

interface Fetch {
  readonly from: NodeId;
  readonly id: string;
  readonly writer: SnapshotWriter;
  stage: SnapshotProgress["stage"];
  /** Chunks [0, next) were given to the writer; [0, written) are on disk. */
  next: number;
  written: number;
  bytes: number;
  bytesEstimated: number;
  lastIndex: number | undefined;
  /** When a chunk got to the disk last, and when something came last. */
  advancedMs: number;
  heardMs: number;
}

export class SnapshotReceiver {
  private readonly ports: SnapshotReceiverPorts;
  private fetching: Fetch | undefined;
  private timer: Timer | undefined;
  /** The next writer waits until the one before has removed what it wrote. */
  private removing: Promise<void> | undefined;

  constructor(ports: SnapshotReceiverPorts) {
    this.ports = ports;
  }

  /** Undefined when nothing is fetched. */
  status(): SnapshotProgress | undefined {
    if (this.fetching === undefined) return undefined;
    const { from, stage, written, bytes, bytesEstimated } = this.fetching;
    return { from, stage, chunks: written, bytes, ...(bytesEstimated === 0 ? {} : { bytesEstimated }) };
  }

  /** True while a fetch is under way, or while what is left of the last one is being removed. */
  get isBusy(): boolean {
    return this.fetching !== undefined || this.removing !== undefined;
  }

  /** Begins to fetch from `node`. False while `isBusy`. */
  fetch(node: NodeId): boolean {
    if (this.isBusy) return false;
    const { clock, random, stateMachine } = this.ports;
    const nowMs = clock.nowMs();
    this.fetching = {
      from: node,
      id: `${random.below(2 ** 32).toString(36)}-${random.below(2 ** 32).toString(36)}`,
      writer: stateMachine.beginInstall(),
      stage: "asking",
      next: 0,
      written: 0,
      bytes: 0,
      bytesEstimated: 0,
      lastIndex: undefined,
      advancedMs: nowMs,
      heardMs: nowMs,
    };
    this.ask(this.fetching);
    this.startTimer(this.fetching);
    return true;
  }

  /** Gives the fetch up, without word to its owner. */
  cancel(reason = "it is not needed any more"): void {
    const { fetching } = this;
    if (fetching === undefined) return;
    this.ports.send(fetching.from, { kind: "end", transfer: fetching.id, reason });
    this.discard(fetching);
  }

  /** A connection to `node` was made. */
  peerUp(node: NodeId): void {
    if (this.fetching?.from === node) this.ask(this.fetching);
  }

  take(from: NodeId, message: Extract<SnapshotMessage, { kind: "accepted" | "wait" | "chunk" | "end" }>): void {
    const { fetching } = this;
    if (fetching?.from !== from || fetching.id !== message.transfer) return;
    fetching.heardMs = this.ports.clock.nowMs();
    switch (message.kind) {
      case "accepted":
        this.begin(fetching, message);
        return;
      case "wait":
        fetching.stage = "waiting";
        return;
      case "chunk":
        this.takeChunk(fetching, message);
        return;
      case "end":
        // It ends its part when everything is here, too.
        if (fetching.stage !== "finishing") this.fail(fetching, notServed(from, message.reason));
        return;
    }
  }

  private begin(
    fetching: Fetch,
    { appliedSlots, bytesEstimated }: Extract<SnapshotMessage, { kind: "accepted" }>,
  ): void {
    // All of it would be refused at its end.
    if (!this.ports.isStillWanted(appliedSlots)) {
      this.fail(fetching, tooOld(fetching.from, appliedSlots));
      return;
    }
    if (fetching.stage !== "finishing") fetching.stage = "receiving";
    fetching.bytesEstimated = bytesEstimated;
  }

  private takeChunk(fetching: Fetch, { index, isLast, bytes }: Extract<SnapshotMessage, { kind: "chunk" }>): void {
    // Sent twice, or one before it was lost: what is missing is asked for soon.
    if (index !== fetching.next || fetching.lastIndex !== undefined) return;
    // Who sends beyond its credit would fill this node's memory while its disk is slow.
    if (index >= fetching.written + CREDIT_CHUNKS) return;
    fetching.next += 1;
    if (isLast) fetching.lastIndex = index;
    const written = fetching.writer.write(bytes).then(
      () => this.onWritten(fetching, index, bytes.byteLength),
      (error: unknown) => this.fail(fetching, toAetherError(error)),
    );
    this.ports.track(written);
  }

  private onWritten(fetching: Fetch, index: number, bytes: number): void {
    if (this.fetching !== fetching) return;
    fetching.written = index + 1;
    fetching.bytes += bytes;
    fetching.advancedMs = this.ports.clock.nowMs();
    this.acknowledge(fetching);
    if (index === fetching.lastIndex) this.ports.track(this.finish(fetching));
  }

  private async finish(fetching: Fetch): Promise<void> {
    fetching.stage = "finishing";
    try {
      const installed = await fetching.writer.finish();
      if (this.fetching !== fetching) return;
      if (!this.ports.isStillWanted(installed.appliedSlots)) {
        this.cancel();
        return;
      }
      const mark = fetching.writer.install();
      this.forget();
      this.ports.onInstalled(mark, installed);
    } catch (error) {
      this.fail(fetching, toAetherError(error));
    }
  }

  private ask({ from, id, written }: Fetch): void {
    this.ports.send(from, { kind: "request", transfer: id, from: written });
  }

  private acknowledge({ from, id, written }: Fetch): void {
    this.ports.send(from, { kind: "ack", transfer: id, below: written });
  }

  private startTimer(fetching: Fetch): void {
    this.timer = this.ports.clock.setTimer(ASK_AGAIN_MS, () => {
      const nowMs = this.ports.clock.nowMs();
      if (nowMs - fetching.advancedMs >= STANDSTILL_MS_MAX) {
        this.fail(fetching, standstill(fetching));
        return;
      }
      const isSilent = nowMs - fetching.heardMs >= ASK_AGAIN_MS;
      // While chunks are being written there is nothing to ask for.
      if (isSilent && fetching.written === fetching.next && fetching.stage !== "finishing") this.ask(fetching);
      this.startTimer(fetching);
    });
  }

  private fail(fetching: Fetch, error: AetherError): void {
    if (this.fetching !== fetching) return;
    this.ports.log.warn({
      event: "snapshot.fetch_failed",
      from: fetching.from,
      code: error.code,
      reason: error.message,
      chunks: fetching.written,
    });
    this.cancel(error.message);
    this.ports.onFailed(error);
  }

  private discard(fetching: Fetch): void {
    this.forget();
    const removing = fetching.writer
      .abort()
      .catch((error: unknown) => this.ports.onFailed(toAetherError(error)))
      .then(() => {
        this.removing = undefined;
      });
    this.removing = removing;
    this.ports.track(removing);
  }

  private forget(): void {
    this.timer?.cancel();
    this.fetching = undefined;
  }
}

function notServed(from: NodeId, reason: string): AetherError {
  return new AetherError("E_UNAVAILABLE", `node ${from} gives no snapshot: ${reason}; another node is asked`);
}

function tooOld(from: NodeId, appliedSlots: number): AetherError {
  const message = `the snapshot of node ${from} ends at slot ${appliedSlots}, before what this node has to begin with`;
  return new AetherError("E_UNAVAILABLE", `${message}: a later one is asked for`);
}

function standstill({ from, stage, written }: Fetch): AetherError {
  const message = `no chunk of a snapshot came from node ${from} for ${STANDSTILL_MS_MAX} ms`;
  return new AetherError("E_TIMEOUT", `${message} (${stage}, ${written} chunks): another node is asked`);
}
