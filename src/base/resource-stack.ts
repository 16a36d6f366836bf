// Owns: closing things in the reverse order of opening (`AsyncDisposableStack` does not exist on Node 20).

export interface AsyncCloseable {
  close(): Promise<void> | void;
}

/** Owns what is pushed; `close()` is idempotent, runs in reverse and reports the first failure after all ran. */
export class ResourceStack implements AsyncCloseable, AsyncDisposable {
  private owned: AsyncCloseable[] = [];

  own<T extends AsyncCloseable>(resource: T): T {
    this.owned.push(resource);
    return resource;
  }

  defer(close: () => Promise<void> | void): void {
    this.owned.push({ close });
  }

  /** Hands everything over to a new owner, for constructors that succeed only as a whole. */
  move(): ResourceStack {
    const next = new ResourceStack();
    next.owned = this.owned;
    this.owned = [];
    return next;
  }

  async close(): Promise<void> {
    const closing = this.owned.reverse();
    this.owned = [];
    let failure: unknown;
    for (const resource of closing) {
      try {
        await resource.close();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
