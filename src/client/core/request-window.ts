// Owns: the request ids of one session: rising, and so few under way that the cluster still remembers the oldest.
// Does not own: what is sent under an id, nor how often.

/** A cluster remembers the results of a session's latest ids; an id as old as this is refused. */
export const REQUEST_WINDOW = 1_024;

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

  get isFull(): boolean {
    for (const lowest of this.taken) return this.nextId - lowest >= REQUEST_WINDOW;
    return false;
  }
}
