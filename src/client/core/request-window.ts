// Owns: the request ids of one session: rising, and so few under way that the cluster still remembers the oldest.
// Does not own: what is sent under an id, nor how often.
import { SESSION_WINDOW_MAX } from "../../kvstore/core/request-page.ts";

export class RequestWindow {
  /** Ids in use. They are taken in rising order, so the first one is the lowest. */
  private readonly taken = new Set<number>();
  private nextId = 1;

  /** The next id, or undefined while it would push one in use out of the window. */
  take(): number | undefined {
    if (this.isFull) return undefined;
    const id = this.nextId++;
    this.taken.add(id);
    return id;
  }

  /** Nothing will be sent under this id any more. Idempotent. */
  release(id: number): void {
    this.taken.delete(id);
  }

  get isIdle(): boolean {
    return this.taken.size === 0;
  }

  get isFull(): boolean {
    for (const lowest of this.taken) return this.nextId - lowest >= SESSION_WINDOW_MAX;
    return false;
  }
}
