// Owns: arithmetic of deadlines. They travel as remaining milliseconds, because clocks of nodes do not agree.
import { HOUR_MS } from "../../base/units.ts";

/** A moment on this node's monotonic clock. */
export interface Deadline {
  readonly atMs: number;
}

/** Longer calls are jobs; it also keeps every timer far from the 32-bit limit of the platform. */
export const CALL_TIMEOUT_MS_MAX = HOUR_MS;

export function deadlineAfter(nowMs: number, timeoutMs: number): Deadline {
  return { atMs: nowMs + timeoutMs };
}

/** What is left, never below 0. */
export function remainingMs(deadline: Deadline, nowMs: number): number {
  return Math.max(0, deadline.atMs - nowMs);
}

/** Whether a caller may ask for this at all. */
export function isUsableTimeout(timeoutMs: number): boolean {
  return Number.isFinite(timeoutMs) && timeoutMs <= CALL_TIMEOUT_MS_MAX;
}
