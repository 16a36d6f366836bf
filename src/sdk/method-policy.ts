// Owns: what a contract may say about how calls of a method are made: retries, rate, cache.
// Does not own: keeping to it (invocation).
import { z } from "zod";
import { HOUR_MS, SECOND_MS } from "../base/units.ts";

const RETRIES_MAX = 10;
const RATE_MAX = 1_000_000;
const CACHE_TTL_MS_MAX = HOUR_MS;
const CACHE_ENTRIES_MAX = 100_000;
const CACHE_ENTRIES_DEFAULT = 1_000;

/** As it is stored: what an author left out is filled in. */
export const methodPolicySchema = z.object({
  retry: z.object({
    max: z.int().min(0).max(RETRIES_MAX).exactOptional(),
    backoffMs: z.int().min(1).max(10 * SECOND_MS).exactOptional(),
  }).exactOptional(),
  rateLimit: z.object({
    perSecond: z.number().positive().max(RATE_MAX),
    burst: z.int().min(1).max(RATE_MAX),
  }).exactOptional(),
  cache: z.object({
    ttlMs: z.int().min(1).max(CACHE_TTL_MS_MAX),
    entriesMax: z.int().min(1).max(CACHE_ENTRIES_MAX),
  }).exactOptional(),
});

export type MethodPolicy = z.output<typeof methodPolicySchema>;

/** What an author may say of a method; callers keep to it, whatever contract they were built with. */
export interface PolicyOptions {
  /**
   * Retries of a call that may have run, or to an instance tried before: at most `max` (up to 10, never more than the
   * calling node allows), the first one after `backoffMs`, then doubling. `max: 0`: none. Which failures may be retried
   * at all is a matter of `effect`.
   */
  readonly retry?: { readonly max?: number; readonly backoffMs?: number };
  /**
   * Calls per second that all instances together take, and how many at once after a quiet time (default: those of one
   * second). Beyond it a call is refused with `E_OVERLOADED` before its handler starts.
   */
  readonly rateLimit?: { readonly perSecond: number; readonly burst?: number };
  /**
   * For `effect: "read"`: each calling node keeps answers by their input for so many milliseconds, up to an hour; the
   * latest 1,000 inputs unless `entriesMax` says otherwise.
   */
  readonly cache?: { readonly ttlMs: number; readonly entriesMax?: number };
}

export type ParsedPolicy =
  | { readonly kind: "policy"; readonly policy: MethodPolicy | undefined }
  | { readonly kind: "refused"; readonly reason: string };

export function parsePolicy({ retry, rateLimit, cache }: PolicyOptions): ParsedPolicy {
  if ([retry, rateLimit, cache].every((part) => part === undefined)) return { kind: "policy", policy: undefined };
  const burst = Math.max(1, Math.ceil(rateLimit?.perSecond ?? 1));
  const parsed = methodPolicySchema.safeParse({
    ...(retry === undefined ? {} : { retry }),
    ...(rateLimit === undefined ? {} : { rateLimit: { burst, ...rateLimit } }),
    ...(cache === undefined ? {} : { cache: { entriesMax: CACHE_ENTRIES_DEFAULT, ...cache } }),
  });
  if (parsed.success) return { kind: "policy", policy: parsed.data };
  return { kind: "refused", reason: z.prettifyError(parsed.error) };
}
