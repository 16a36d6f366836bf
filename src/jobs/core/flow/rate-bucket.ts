// Owns: the arithmetic of rates that the whole cluster keeps: what the leader adds to a bucket, what a node takes from
// it. Does not own: the rows' transactions (rate-refill.ts, rate-limits.ts).
//
// A bucket holds at most its burst: what stands in the row, and the part of a token that its leader has counted. A next
// leader begins to count anew. So in any time no more is taken than the burst and what the rate allows in it.
import { SECOND_MS } from "../../../base/units.ts";

export interface ToolRate {
  /** The same name is one bucket in the whole cluster, see call-rates.ts. */
  readonly name: string;
  readonly perSecond: number;
  /** Calls that may be made at once after a time without any. */
  readonly burst: number;
}

/** The value of `job-rates/{name}`. */
export interface RateRow {
  readonly perSecond: number;
  readonly burst: number;
  /** Below zero when a call has taken more than there was; the next one waits until that is made up for. */
  readonly tokens: number;
}

/** What the leader has counted and not added, as of a time of its monotonic clock. */
export interface Counted {
  readonly part: number;
  readonly atMs: number;
}

/** Between two looks of the leader at a bucket that is used. */
export const REFILL_MS_MIN = 50;
/** A bucket that takes long to fill is filled in so many parts, */
const REFILL_PARTS = 20;
/** and this often at least. */
const REFILL_MS_MAX = 500;
/** The part of a second for which a node takes tokens at once. */
const BLOCK_PARTS = 20;

export function countedAt({ part, atMs }: Counted, { perSecond, burst, tokens }: RateRow, nowMs: number): Counted {
  const sum = part + (Math.max(0, nowMs - atMs) * perSecond) / SECOND_MS;
  return { part: Math.min(sum, Math.max(0, burst - tokens)), atMs: nowMs };
}

/** Whole tokens that are to be added now. */
export function wholeOf({ part }: Counted): number {
  // Sums of thirds and the like are a little below the whole.
  return Math.floor(part + 1e-9);
}

export function isFull({ tokens, burst }: RateRow, { part }: Counted): boolean {
  return tokens + part >= burst;
}

/** When to look again at a bucket that is not full. */
export function nextRefillMs({ part }: Counted, { perSecond, burst }: Omit<RateRow, "tokens">): number {
  const partMs = (burst * SECOND_MS) / perSecond / REFILL_PARTS;
  const whole = Math.ceil(((1 - part) * SECOND_MS) / perSecond);
  return Math.max(REFILL_MS_MIN, Math.floor(Math.min(partMs, REFILL_MS_MAX)), whole);
}

/** Calls that may be made, and the tokens that they take. */
export interface Taken {
  readonly calls: number;
  readonly tokens: number;
}

/**
 * How many of these calls, in this order, may be made now. One that takes more than there is takes it all the same when
 * there is any: in the long run the rate holds, and no call is too large for it.
 */
export function takeOf(row: RateRow, counts: readonly number[]): Taken {
  if (counts.every((count) => count === 1)) {
    const block = Math.max(0, blockOf(row, counts.length));
    return { calls: block, tokens: block };
  }
  let tokens = 0;
  let calls = 0;
  for (const count of counts) {
    if (tokens >= row.tokens) break;
    tokens += count;
    calls += 1;
  }
  return { calls, tokens };
}

/** How many tokens a node takes for `wanted` calls that wait: when the store is slow, half of what there is. */
export function blockOf({ tokens, perSecond }: RateRow, wanted: number): number {
  return Math.min(tokens, wanted, Math.max(1, Math.floor(perSecond / BLOCK_PARTS), Math.ceil(tokens / 2)));
}
