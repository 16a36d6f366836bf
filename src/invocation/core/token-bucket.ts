// Owns: how a rate of calls is kept to: a bucket that fills at that rate, and each call takes one out of it.

export interface Rate {
  readonly perSecond: number;
  /** What the bucket holds. */
  readonly burst: number;
}

/** How full it was at a moment. */
export interface Bucket {
  readonly tokens: number;
  readonly atMs: number;
}

export type Taken =
  | { readonly kind: "taken"; readonly bucket: Bucket }
  | { readonly kind: "empty"; readonly retryAfterMs: number };

/** A bucket that nobody has used yet is full. */
export function takeToken(bucket: Bucket | undefined, rate: Rate, nowMs: number): Taken {
  const tokens = bucket === undefined ? rate.burst : levelAt(bucket, rate, nowMs);
  if (tokens >= 1) return { kind: "taken", bucket: { tokens: tokens - 1, atMs: nowMs } };
  return { kind: "empty", retryAfterMs: Math.ceil(((1 - tokens) / rate.perSecond) * 1_000) };
}

/** What one of so many gets of a rate that all have together. */
export function shareOf({ perSecond, burst }: Rate, count: number): Rate {
  const parts = Math.max(1, count);
  // Less than one token would never let anybody through.
  return { perSecond: perSecond / parts, burst: Math.max(1, burst / parts) };
}

export function levelAt({ tokens, atMs }: Bucket, { perSecond, burst }: Rate, nowMs: number): number {
  return Math.min(burst, tokens + ((nowMs - atMs) / 1_000) * perSecond);
}
