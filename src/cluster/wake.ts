// Owns: how a loop sleeps until something happened, or some time passed. Any number of notices before it looks are one.
import type { CancelSignal } from "../base/cancellation.ts";
import { createDeferred, type Deferred } from "../base/deferred.ts";
import type { Clock } from "../env/clock.ts";

/** For one waiting loop. */
export class Wake {
  private readonly clock: Clock;
  private isNotified = false;
  private waiting: Deferred<void> | undefined;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  notify(): void {
    this.isNotified = true;
    this.waiting?.resolve();
  }

  /** Resolves at once when there was a notice since the last wait. Rejects with the signal's reason. */
  async wait(signal: CancelSignal, afterMs?: number): Promise<void> {
    if (signal.aborted) throw signal.reason;
    if (!this.isNotified) await this.sleep(signal, afterMs);
    this.isNotified = false;
  }

  private async sleep(signal: CancelSignal, afterMs: number | undefined): Promise<void> {
    const waiting = createDeferred<void>();
    const onAbort = (): void => waiting.reject(signal.reason);
    const timer = afterMs === undefined ? undefined : this.clock.setTimer(afterMs, () => waiting.resolve());
    signal.addEventListener("abort", onAbort, { once: true });
    this.waiting = waiting;
    try {
      await waiting.promise;
    } finally {
      this.waiting = undefined;
      timer?.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }
}
