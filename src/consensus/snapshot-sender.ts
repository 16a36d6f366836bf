// Owns: giving snapshots of this node's state to others: few at a time, as fast as they take them.
// Does not own: when a node needs one, what is in it, the channel (snapshot-exchange.ts).
import { toAetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { MiB, MINUTE_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import type { SnapshotMessage } from "./core/snapshot-message.ts";
import type { ReplicatedStateMachine, SnapshotReader } from "./state-machine.ts";

/** Others are told to wait. Each transfer holds this much memory and a view of the disk. */
export const TRANSFERS_MAX = 2;
/** Chunks and bytes that were sent and are not on the other's disk yet. A chunk is sent whatever its size. */
export const CREDIT_CHUNKS = 8;
export const CREDIT_BYTES = 2 * MiB;
/** A transfer of which nothing is heard is forgotten. */
export const IDLE_MS_MAX = 1 * MINUTE_MS;
/** A chunk that the channel did not take is tried again. */
const RESEND_MS = 20;

export interface SnapshotSenderPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly stateMachine: Pick<ReplicatedStateMachine, "openSnapshot">;
  /** False when it was not sent. */
  send(to: NodeId, message: SnapshotMessage): boolean;
  /** Every piece of work that ends later, for worlds that must wait for it. */
  track(task: Promise<void>): void;
  /** The log must be kept from this slot on, until the end of the transfer to that node. */
  onStart(to: NodeId, appliedSlots: number): void;
  /** Once for each start; `complete` when everything is on the other's disk. */
  onEnd(to: NodeId, result: "complete" | "broken"): void;
}

interface Chunk {
  readonly index: number;
  readonly isLast: boolean;
  readonly bytes: Uint8Array;
  isSent: boolean;
}

interface Transfer {
  readonly to: NodeId;
  readonly id: string;
  reader: SnapshotReader | undefined;
  /** In order: what may have to be sent again. */
  unacked: Chunk[];
  /** One chunk is read ahead, to know which one is the last. */
  ahead: Uint8Array | undefined;
  nextIndex: number;
  isReading: boolean;
  isReadToEnd: boolean;
  isOver: boolean;
  idle: Timer | undefined;
  resend: Timer | undefined;
}

export class SnapshotSender {
  private readonly ports: SnapshotSenderPorts;
  private readonly transfers = new Map<NodeId, Transfer>();
  private isClosed = false;

  constructor(ports: SnapshotSenderPorts) {
    this.ports = ports;
  }

  get transferCount(): number {
    return this.transfers.size;
  }

  take(from: NodeId, message: Extract<SnapshotMessage, { kind: "request" | "ack" | "end" }>): void {
    const transfer = this.transfers.get(from);
    if (message.kind === "request") this.takeRequest(from, message, transfer);
    else if (transfer?.id !== message.transfer) return;
    else if (message.kind === "ack") this.takeAck(transfer, message.below);
    else this.end(transfer);
  }

  /** The log begins at this slot now: who gets an older state could not go on from there. */
  logBegins(slot: number): void {
    for (const transfer of [...this.transfers.values()]) {
      const isTooOld = transfer.reader !== undefined && transfer.reader.appliedSlots < slot;
      if (isTooOld) this.fail(transfer, "the log after this state has become too long to be kept");
    }
  }

  close(): void {
    this.isClosed = true;
    for (const transfer of [...this.transfers.values()]) this.end(transfer);
  }

  private takeRequest(
    from: NodeId,
    { transfer: id, from: below }: Extract<SnapshotMessage, { kind: "request" }>,
    present: Transfer | undefined,
  ): void {
    if (this.isClosed) return;
    if (present?.id === id) {
      this.resume(present, below);
      return;
    }
    // Whoever asks anew has forgotten what it asked for before.
    if (present !== undefined) this.end(present);
    if (below > 0) {
      this.ports.send(from, { kind: "end", transfer: id, reason: "this node does not know the transfer" });
      return;
    }
    if (this.transfers.size >= TRANSFERS_MAX) {
      this.ports.send(from, { kind: "wait", transfer: id });
      return;
    }
    this.begin(from, id);
  }

  private begin(to: NodeId, id: string): void {
    const transfer: Transfer = {
      to,
      id,
      reader: undefined,
      unacked: [],
      ahead: undefined,
      nextIndex: 0,
      isReading: false,
      isReadToEnd: false,
      isOver: false,
      idle: undefined,
      resend: undefined,
    };
    this.transfers.set(to, transfer);
    this.touch(transfer);
    this.run(transfer, async () => {
      const reader = await this.ports.stateMachine.openSnapshot();
      if (transfer.isOver) return reader?.close();
      if (reader === undefined) {
        this.fail(transfer, "this node has no checkpoint to make a snapshot of");
        return;
      }
      transfer.reader = reader;
      this.ports.onStart(to, reader.appliedSlots);
      this.accept(transfer, reader);
      transfer.ahead = await reader.next();
    });
  }

  /** The connection was lost, or something on it. */
  private resume(transfer: Transfer, below: number): void {
    this.touch(transfer);
    if (transfer.reader === undefined) return;
    this.dropAcked(transfer, below);
    if ((transfer.unacked[0]?.index ?? transfer.nextIndex) !== below) {
      this.fail(transfer, `this node cannot go on at chunk ${below}`);
      return;
    }
    for (const chunk of transfer.unacked) chunk.isSent = false;
    this.accept(transfer, transfer.reader);
    this.advance(transfer);
  }

  private accept({ to, id }: Transfer, { appliedSlots, bytesEstimated }: SnapshotReader): void {
    this.ports.send(to, { kind: "accepted", transfer: id, appliedSlots, bytesEstimated: bytesEstimated ?? 0 });
  }

  private takeAck(transfer: Transfer, below: number): void {
    this.touch(transfer);
    this.dropAcked(transfer, below);
    if (transfer.isReadToEnd && transfer.unacked.length === 0) this.end(transfer, "complete");
    else this.advance(transfer);
  }

  private dropAcked(transfer: Transfer, below: number): void {
    transfer.unacked = transfer.unacked.filter((chunk) => chunk.index >= below);
  }

  /** Sends what may be sent, and reads the next chunk when there is room for it. */
  private advance(transfer: Transfer): void {
    if (transfer.isOver) return;
    const waiting = transfer.unacked.find((chunk) => !chunk.isSent && !this.sendChunk(transfer, chunk));
    if (waiting !== undefined) this.resendLater(transfer);
    else if (!transfer.isReading && !transfer.isReadToEnd && hasCredit(transfer)) this.read(transfer);
  }

  private read(transfer: Transfer): void {
    const { reader, ahead: bytes } = transfer;
    if (reader === undefined || bytes === undefined) return;
    this.run(transfer, async () => {
      transfer.ahead = await reader.next();
      const isLast = transfer.ahead === undefined;
      transfer.unacked.push({ index: transfer.nextIndex, isLast, bytes, isSent: false });
      transfer.nextIndex += 1;
      transfer.isReadToEnd = isLast;
    });
  }

  private sendChunk({ to, id }: Transfer, chunk: Chunk): boolean {
    const { index, isLast, bytes } = chunk;
    chunk.isSent = this.ports.send(to, { kind: "chunk", transfer: id, index, isLast, bytes });
    return chunk.isSent;
  }

  private resendLater(transfer: Transfer): void {
    transfer.resend ??= this.ports.clock.setTimer(RESEND_MS, () => {
      transfer.resend = undefined;
      this.advance(transfer);
    });
  }

  /** One piece of reading at a time; then goes on. */
  private run(transfer: Transfer, act: () => Promise<void>): void {
    transfer.isReading = true;
    const task = act().then(
      () => {
        transfer.isReading = false;
        this.advance(transfer);
      },
      (error: unknown) => this.fail(transfer, toAetherError(error).message),
    );
    this.ports.track(task);
  }

  private touch(transfer: Transfer): void {
    transfer.idle?.cancel();
    transfer.idle = this.ports.clock.setTimer(IDLE_MS_MAX, () => this.end(transfer));
  }

  private fail(transfer: Transfer, reason: string): void {
    if (transfer.isOver) return;
    this.ports.log.warn({ event: "snapshot.send_failed", to: transfer.to, reason });
    this.ports.send(transfer.to, { kind: "end", transfer: transfer.id, reason });
    this.end(transfer);
  }

  private end(transfer: Transfer, result: "complete" | "broken" = "broken"): void {
    if (transfer.isOver) return;
    transfer.isOver = true;
    transfer.idle?.cancel();
    transfer.resend?.cancel();
    transfer.unacked = [];
    this.transfers.delete(transfer.to);
    if (transfer.reader === undefined) return;
    // ignored: a view that cannot be given back goes with its store
    this.ports.track(transfer.reader.close().catch(() => undefined));
    this.ports.onEnd(transfer.to, result);
  }
}

function hasCredit({ unacked }: Transfer): boolean {
  const bytes = unacked.reduce((sum, chunk) => sum + chunk.bytes.byteLength, 0);
  return unacked.length < CREDIT_CHUNKS && bytes < CREDIT_BYTES;
}
