// Owns: a clock that stands still until a story moves it, without the real event loop.
import type { Clock, Timer } from "../../src/env/clock.ts";

interface Entry {
  readonly atMs: number;
  readonly fire: () => void;
}

export class HandClock implements Clock {
  private currentMs = 5_000;
  private timers: Entry[] = [];
  private deferred: (() => void)[] = [];

  nowMs(): number {
    return this.currentMs;
  }

  wallMs(): number {
    return this.currentMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const entry = { atMs: this.currentMs + Math.max(0, delayMs), fire };
    this.timers.push(entry);
    return { cancel: () => (this.timers = this.timers.filter((other) => other !== entry)) };
  }

  defer(fire: () => void): void {
    this.deferred.push(fire);
  }

  nextTurn(fire: () => void): void {
    this.defer(() => this.defer(fire));
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.setTimer(delayMs, resolve));
  }

  /** Ends the turn: runs what was deferred, and what that defers. */
  settle(): void {
    while (this.deferred.length > 0) {
      const due = this.deferred;
      this.deferred = [];
      for (const fire of due) fire();
    }
  }

  /** Time passes in which nothing runs. */
  standStill(durationMs: number): void {
    this.currentMs += durationMs;
  }

  /** Moves to the next timer and fires it; or to `untilMs`, and returns false, when there is none before. */
  fireNext(untilMs = Number.POSITIVE_INFINITY): boolean {
    let next: Entry | undefined;
    for (const timer of this.timers) if (next === undefined || timer.atMs < next.atMs) next = timer;
    if (next === undefined || next.atMs > untilMs) {
      if (Number.isFinite(untilMs)) this.currentMs = Math.max(this.currentMs, untilMs);
      return false;
    }
    const due = next;
    this.timers = this.timers.filter((other) => other !== due);
    this.currentMs = Math.max(this.currentMs, due.atMs);
    due.fire();
    this.settle();
    return true;
  }
}
