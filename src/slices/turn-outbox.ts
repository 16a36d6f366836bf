// Owns: coalescing. What is added during one turn of the event loop leaves as one array at its end, because one
// postMessage per message costs more than the message. Much of it leaves in pieces: or one thread after the other would
// work on all of it, while the others wait.
import type { Clock } from "../env/clock.ts";

/** A piece: waking the other thread costs each of so many little, and 64 calls in flight make four of them. */
export const PIECE_MESSAGES = 16;
/** What a turn has beyond these leaves at its end: a turn that never ends must not look alive to the other side. */
export const PIECES_PER_TURN_MAX = 64;

export class TurnOutbox<T> {
  private readonly clock: Pick<Clock, "defer">;
  private readonly post: (messages: readonly T[]) => void;
  private waiting: T[] = [];
  private isFlushDue = false;
  /** That left before the end of this turn. */
  private pieces = 0;

  constructor(clock: Pick<Clock, "defer">, post: (messages: readonly T[]) => void) {
    this.clock = clock;
    this.post = post;
  }

  get size(): number {
    return this.waiting.length;
  }

  add(message: T): void {
    this.waiting.push(message);
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

  /** Sends what waits now; used before the thread ends. */
  flush(): void {
    if (this.waiting.length === 0) return;
    const messages = this.waiting;
    this.waiting = [];
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
