// Owns: how long to wait before the next dial.
import type { Random } from "../../base/random.ts";

const FIRST_DELAY_MS = 50;
/** A returned peer is met again within about a second. */
const DELAY_MAX_MS = 1_000;

/** Doubling from 50 ms to 1 s after `failures` dials in a row; jittered to 50-100 %, lest nodes dial in step. */
export function redialDelayMs(failures: number, random: Random): number {
  const fullMs = Math.min(DELAY_MAX_MS, FIRST_DELAY_MS * 2 ** Math.min(failures, 10));
  return fullMs * (0.5 + random.next() / 2);
}
