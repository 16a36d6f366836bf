// Owns: background work. No promise floats: each belongs to a scope that cancels and awaits it.
import { setMaxListeners } from "node:events";

/** Runs named tasks; closing it aborts their signal and waits until all have ended. */
export class TaskScope {
  private readonly controller = new AbortController();
  private readonly running = new Set<Promise<void>>();
  private readonly onFailure: (name: string, error: unknown) => void;

  constructor(onFailure: (name: string, error: unknown) => void) {
    this.onFailure = onFailure;
    // Each of its tasks waits on this one signal: that many listeners are no leak.
    setMaxListeners(0, this.controller.signal);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  spawn(name: string, task: (signal: AbortSignal) => Promise<void>): void {
    if (this.signal.aborted) return;
    const run = async (): Promise<void> => {
      try {
        await task(this.signal);
      } catch (error) {
        // A task that ends because the scope closes has not failed.
        if (!this.signal.aborted) this.onFailure(name, error);
      }
    };
    const promise = run();
    this.running.add(promise);
    void promise.finally(() => this.running.delete(promise));
  }

  async close(): Promise<void> {
    this.controller.abort();
    await Promise.all(this.running);
  }
}
