// Owns: timers that are due and cannot be fired now, because the inbox of their job is full: each is tried again later
// and later. Does not own: firing them (timer-driver.ts).
import { SECOND_MS } from "../../../base/units.ts";

export const HELD_FIRST_MS = 200;
/** A job that reads again has its timers this much later at most. */
export const HELD_MS_MAX = 10 * SECOND_MS;
/** What was fired by another leader is forgotten with all others: then each is tried at once, one time. */
const HELD_TIMERS_MAX = 10_000;

interface Held {
  readonly delayMs: number;
  readonly untilMs: number;
}

/** All times are of one monotonic clock. */
export class HeldTimers<K> {
  private readonly held = new Map<K, Held>();

  /** It could not be fired. */
  hold(key: K, nowMs: number): void {
    const delayMs = Math.min((this.held.get(key)?.delayMs ?? HELD_FIRST_MS / 2) * 2, HELD_MS_MAX);
    if (this.held.size >= HELD_TIMERS_MAX) this.held.clear();
    this.held.set(key, { delayMs, untilMs: nowMs + delayMs });
  }

  isHeld(key: K, nowMs: number): boolean {
    return (this.held.get(key)?.untilMs ?? 0) > nowMs;
  }

  forget(key: K): void {
    this.held.delete(key);
  }

  /** Until the first of them is tried again. */
  waitMs(nowMs: number): number {
    let waitMs = Number.POSITIVE_INFINITY;
    for (const { untilMs } of this.held.values()) if (untilMs > nowMs) waitMs = Math.min(waitMs, untilMs - nowMs);
    return waitMs;
  }
}
