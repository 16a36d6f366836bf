// Owns: coalescing. What is added during one turn of the event loop leaves as one array at its end, because one
// postMessage per message costs more than the message. Much of it leaves in pieces: or one thread after the other would
// work on all of it, while the others wait.
import type { Clock } from "../env/clock.ts";

/** A piece: waking the other thread costs each of so many little, and 64 calls in flight make four of them. */
export const PIECE_MESSAGES = 16;

export class TurnOutbox<T> {
  private readonly clock: Pick<Clock, "defer">;
  private readonly post: (messages: readonly T[]) => void;
  private waiting: T[] = [];
  private isFlushDue = false;

  constructor(clock: Pick<Clock, "defer">, post: (messages: readonly T[]) => void) {
    this.clock = clock;
    this.post = post;
  }

  get size(): number {
    return this.waiting.length;
  }

  add(message: T): void {
    this.waiting.push(message);
    if (this.waiting.length === PIECE_MESSAGES) return this.flush();
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    this.clock.defer(() => {
      this.isFlushDue = false;
      this.flush();
    });
  }

  /** Sends what waits now; used before the thread ends. */
  flush(): void {
    if (this.waiting.length === 0) return;
    const messages = this.waiting;
    this.waiting = [];
    this.post(messages);
  }
}
