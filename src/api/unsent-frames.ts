// Owns: the frames of one session that its socket has no room for yet, and when a client reads too slowly to be kept.
// Many large answers may be ready in one turn: that they wait says nothing of a client. That none of them leaves does,
// and so does it when all clients together have too much to read.
import type { Clock, Timer } from "../env/clock.ts";
import type { Connection } from "../env/network.ts";
import { NODE_UNSENT_BYTES_MAX, SOCKET_BYTES_MAX, SOCKET_HELD_ABOVE_BYTES, SOCKET_STALL_MS } from "./limits.ts";

/** How soon a full socket is looked at again. */
const RECHECK_MS = 5;

export interface UnsentFramesPorts {
  readonly connection: Pick<Connection, "bufferedBytes" | "send">;
  readonly clock: Clock;
  /** What waits for the sockets of all sessions of the node. */
  readonly load: { unsentBytes: number };
  onTooSlow(unsentBytes: number): void;
  /** What had to wait has left. */
  onSent(): void;
}

export class UnsentFrames {
  private readonly ports: UnsentFramesPorts;
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  /** When something last left, as far as that matters. */
  private movedMs = 0;
  private bufferedBefore = 0;
  private recheck: Timer | undefined;
  private isClosed = false;

  constructor(ports: UnsentFramesPorts) {
    this.ports = ports;
  }

  get bytes(): number {
    return this.ports.connection.bufferedBytes + this.waitingBytes;
  }

  get isEmpty(): boolean {
    return this.waiting.length === 0;
  }

  add(frames: readonly Uint8Array[]): void {
    if (this.recheck === undefined) this.movedMs = this.ports.clock.nowMs();
    for (const frame of frames) {
      this.waiting.push(frame);
      this.count(frame.byteLength);
    }
    this.send();
  }

  close(): void {
    this.isClosed = true;
    this.recheck?.cancel();
    this.waiting = [];
    this.count(-this.waitingBytes);
  }

  private send(): void {
    const { connection, clock } = this.ports;
    let sent = 0;
    const hasMoved = connection.bufferedBytes < this.bufferedBefore;
    for (const frame of this.waiting) {
      if (connection.bufferedBytes > SOCKET_HELD_ABOVE_BYTES) break;
      connection.send(frame);
      this.count(-frame.byteLength);
      sent += 1;
    }
    this.waiting = this.waiting.slice(sent);
    this.bufferedBefore = connection.bufferedBytes;
    if (hasMoved || sent > 0) this.movedMs = clock.nowMs();
    if (this.isTooSlow()) return this.ports.onTooSlow(this.bytes);
    const isBehind = !this.isEmpty || this.bytes > SOCKET_BYTES_MAX;
    if (isBehind && !this.isClosed) this.recheck ??= clock.setTimer(RECHECK_MS, () => this.lookAgain());
  }

  private lookAgain(): void {
    this.recheck = undefined;
    this.send();
    if (this.isEmpty) this.ports.onSent();
  }

  private isTooSlow(): boolean {
    if (this.bytes <= SOCKET_BYTES_MAX) return false;
    const { clock, load } = this.ports;
    return load.unsentBytes > NODE_UNSENT_BYTES_MAX || clock.nowMs() - this.movedMs >= SOCKET_STALL_MS;
  }

  private count(bytes: number): void {
    this.waitingBytes += bytes;
    this.ports.load.unsentBytes += bytes;
  }
}
