// Owns: a clock that stands still until a test moves it. Between two timers everything that is ready runs first, so
// that a test sees the same order as with real time that passes slowly.
import { setImmediate } from "node:timers/promises";
import type { Clock, Timer } from "../../src/env/clock.ts";

interface Entry {
  readonly atMs: number;
  readonly sequence: number;
  readonly fire: () => void;
}

/** Turns of the real event loop without a new timer or deferred call before all is taken to be quiet. */
const QUIET_TURNS = 3;

export class ManualClock implements Clock {
  private currentMs = 1_000;
  private sequence = 0;
  private timers: Entry[] = [];
  private deferred: (() => void)[] = [];

  nowMs(): number {
    return this.currentMs;
  }

  wallMs(): number {
    return 1_700_000_000_000 + this.currentMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const entry = { atMs: this.currentMs + Math.max(0, delayMs), sequence: this.sequence++, fire };
    this.timers.push(entry);
    return { cancel: () => (this.timers = this.timers.filter((other) => other !== entry)) };
  }

  defer(fire: () => void): void {
    this.sequence++;
    this.deferred.push(fire);
  }

  nextTurn(fire: () => void): void {
    this.defer(() => this.defer(fire));
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        timer.cancel();
        reject(signal?.reason as Error);
      };
      const timer = this.setTimer(delayMs, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Runs whatever is ready without time passing. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS; quiet++) {
      const before = this.sequence;
      const due = this.deferred;
      this.deferred = [];
      for (const fire of due) fire();
      await setImmediate();
      if (this.sequence !== before || this.deferred.length > 0) quiet = -1;
    }
  }

  /** Lets `durationMs` pass, timer by timer. */
  async advance(durationMs: number): Promise<void> {
    const untilMs = this.currentMs + durationMs;
    await this.settle();
    for (let next = this.nextTimer(untilMs); next !== undefined; next = this.nextTimer(untilMs)) {
      this.currentMs = Math.max(this.currentMs, next.atMs);
      this.timers = this.timers.filter((other) => other !== next);
      next.fire();
      await this.settle();
    }
    this.currentMs = untilMs;
  }

  /** Lets time pass in small steps until `isReached`; fails after `limitMs`. Returns how long it took. */
  async advanceUntil(isReached: () => boolean, limitMs: number): Promise<number> {
    const sinceMs = this.currentMs;
    await this.settle();
    while (!isReached()) {
      if (this.currentMs - sinceMs >= limitMs) throw new RangeError(`not reached within ${limitMs} ms`);
      await this.advance(50);
    }
    return this.currentMs - sinceMs;
  }

  /** Lets time pass until `work` has ended, well or not, and answers what it came to; fails after `limitMs`. */
  async settled<T>(work: Promise<T>, limitMs: number): Promise<T> {
    let isOver = false;
    const end = (): void => void (isOver = true);
    work.then(end, end);
    await this.advanceUntil(() => isOver, limitMs);
    return await work;
  }

  private nextTimer(untilMs: number): Entry | undefined {
    const due = this.timers.filter(({ atMs }) => atMs <= untilMs);
    return due.sort((a, b) => a.atMs - b.atMs || a.sequence - b.sequence)[0];
  }
}
