// Owns: time that passes only when a test says so.
import type { Clock, Timer } from "../../../../src/env/clock.ts";

interface Pending {
  readonly atMs: number;
  readonly fire: () => void;
}

export class VirtualClock implements Clock {
  private now = 0;
  private pending: Pending[] = [];
  private deferred: (() => void)[] = [];

  nowMs(): number {
    return this.now;
  }

  wallMs(): number {
    return this.now;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const timer = { atMs: this.now + delayMs, fire };
    this.pending.push(timer);
    return { cancel: () => void (this.pending = this.pending.filter((other) => other !== timer)) };
  }

  defer(fire: () => void): void {
    this.deferred.push(fire);
  }

  nextTurn(fire: () => void): void {
    this.defer(() => this.defer(fire));
  }

  sleep(): Promise<void> {
    return Promise.reject(new TypeError("not used here"));
  }

  /** Ends the turn: runs what was deferred. */
  turn(): void {
    for (let fire = this.deferred.shift(); fire !== undefined; fire = this.deferred.shift()) fire();
  }

  /** Lets time pass, firing timers in order. */
  advance(byMs: number): void {
    const endMs = this.now + byMs;
    for (let next = this.nextUntil(endMs); next !== undefined; next = this.nextUntil(endMs)) {
      this.pending = this.pending.filter((other) => other !== next);
      this.now = Math.max(this.now, next.atMs);
      next.fire();
      this.turn();
    }
    this.now = endMs;
  }

  /** The process stands still for this long: timers fire late, all at the end. */
  pause(forMs: number): void {
    this.now += forMs;
    this.advance(0);
  }

  private nextUntil(endMs: number): Pending | undefined {
    const due = this.pending.filter(({ atMs }) => atMs <= endMs);
    return due.reduce<Pending | undefined>((a, b) => (a === undefined || b.atMs < a.atMs ? b : a), undefined);
  }
}
