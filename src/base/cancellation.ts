// Owns: telling one piece of work that nobody wants it any more. A call makes several of these, nearly all for nothing:
// an AbortController would cost more than the rest of what is done for the call.

/** What is used of an AbortSignal by those who only wait for it. */
export interface CancelSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: "abort", listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** Its own signal. Listeners are called once at most, in their order; they must not throw. */
export class Cancellation implements CancelSignal {
  private isAborted = false;
  private why: unknown;
  private listeners: Set<() => void> | undefined;
  private controller: AbortController | undefined;

  get aborted(): boolean {
    return this.isAborted;
  }

  get reason(): unknown {
    return this.why;
  }

  /** The same for who needs the real thing; it is made when it is first asked for. */
  get native(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.isAborted) this.controller.abort(this.why);
    }
    return this.controller.signal;
  }

  addEventListener(_type: "abort", listener: () => void): void {
    (this.listeners ??= new Set()).add(listener);
  }

  removeEventListener(_type: "abort", listener: () => void): void {
    this.listeners?.delete(listener);
  }

  /** Idempotent: the first reason stays. */
  abort(reason: unknown): void {
    if (this.isAborted) return;
    this.isAborted = true;
    this.why = reason;
    const { listeners } = this;
    this.listeners = undefined;
    if (listeners !== undefined) for (const listener of listeners) listener();
    this.controller?.abort(reason);
  }
}
