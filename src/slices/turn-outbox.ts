// Owns: coalescing. What is added during one turn of the event loop leaves as one array at its end, because one
// postMessage per message costs more than the message. Much of it leaves in pieces: or one thread after the other would
// work on all of it, while the others wait. After many bytes nothing leaves until the other side asks for more: reading
// them takes its thread so long that it has to do something else in between.
import { KiB } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";

/** A piece: waking the other thread costs each of so many little, and 64 calls in flight make four of them. */
export const PIECE_MESSAGES = 16;
/** What a turn has beyond these leaves at its end: a turn that never ends must not look alive to the other side. */
export const PIECES_PER_TURN_MAX = 64;

/** Reading so much takes a thread some milliseconds. */
export const PAUSE_AFTER_BYTES = 256 * KiB;

export class TurnOutbox<T> {
  private readonly clock: Pick<Clock, "defer">;
  private readonly post: (messages: readonly T[]) => void;
  private waiting: T[] = [];
  private isFlushDue = false;
  /** That left before the end of this turn. */
  private pieces = 0;
  private readonly pause: T | undefined;
  /** Added since the last pause. */
  private bytes = 0;
  private isPaused = false;

  /** `pause`: a message that the other side answers by what leads to `resume` here, when it has done something else. */
  constructor(clock: Pick<Clock, "defer">, post: (messages: readonly T[]) => void, pause?: T) {
    this.clock = clock;
    this.post = post;
    this.pause = pause;
  }

  get size(): number {
    return this.waiting.length;
  }

  /** `bytes`: about how much it is, where that may be much. */
  add(message: T, bytes = 0): void {
    this.waiting.push(message);
    this.bytes += bytes;
    if (this.pause !== undefined && this.bytes >= PAUSE_AFTER_BYTES) {
      this.waiting.push(this.pause);
      this.bytes = 0;
    }
    if (!this.isFlushDue) this.flushAtEndOfTurn();
    if (this.waiting.length < PIECE_MESSAGES || this.pieces >= PIECES_PER_TURN_MAX) return;
    this.pieces += 1;
    this.flush();
  }

  /** For what nobody waits for: it makes no piece, so that lines of an endless loop are no sign of life. */
  addLater(message: T): void {
    this.waiting.push(message);
    if (!this.isFlushDue) this.flushAtEndOfTurn();
  }

  /** The other side has asked for more. */
  resume(): void {
    this.isPaused = false;
    this.flush();
  }

  private flush(): void {
    if (this.waiting.length === 0 || this.isPaused) return;
    const pauseAt = this.pause === undefined ? -1 : this.waiting.indexOf(this.pause);
    this.isPaused = pauseAt >= 0;
    const count = this.isPaused ? pauseAt + 1 : this.waiting.length;
    const messages = this.waiting.slice(0, count);
    this.waiting = this.waiting.slice(count);
    this.post(messages);
  }

  private flushAtEndOfTurn(): void {
    this.isFlushDue = true;
    this.clock.defer(() => {
      this.isFlushDue = false;
      this.pieces = 0;
      this.flush();
    });
  }
}
