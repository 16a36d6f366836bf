// Owns: coalescing. What is added during one turn of the event loop leaves as one array at its end, because one
// postMessage per message costs more than the message.
import type { Clock } from "../env/clock.ts";

export class TurnOutbox<T> {
  private readonly clock: Pick<Clock, "defer">;
  private readonly post: (messages: readonly T[]) => void;
  private waiting: T[] = [];

  constructor(clock: Pick<Clock, "defer">, post: (messages: readonly T[]) => void) {
    this.clock = clock;
    this.post = post;
  }

  get size(): number {
    return this.waiting.length;
  }

  add(message: T): void {
    this.waiting.push(message);
    if (this.waiting.length === 1) this.clock.defer(() => this.flush());
  }

  /** Sends what waits now; used before the thread ends. */
  flush(): void {
    if (this.waiting.length === 0) return;
    const messages = this.waiting;
    this.waiting = [];
    this.post(messages);
  }
}
