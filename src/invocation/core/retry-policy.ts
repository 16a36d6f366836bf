// Owns: what may be done after a failed attempt of a call. This is where "never twice" is kept.
// I1  A write that was sent and not answered is never sent again, unless it has an idempotency key: then its callee
//     keeps it from running twice (call-record.ts).
// I2  What a handler answered, also its failure, is final.
// I3  What never started is tried elsewhere, whatever its effect.
import { unreachable } from "../../base/assert.ts";
import { ERRORS } from "../../base/error-catalog.ts";
import type { ErrorBody } from "../../base/errors.ts";

export type Effect = "read" | "idempotent" | "write";

/** How one attempt failed; exactly one of these. */
export type AttemptFailure =
  /** Nothing left this node. */
  | { readonly kind: "not-sent"; readonly error: ErrorBody }
  /** The callee says that its handler did not start. */
  | { readonly kind: "not-started"; readonly error: ErrorBody }
  /** It may have run, and no answer will come. */
  | { readonly kind: "no-answer"; readonly error: ErrorBody }
  /** The handler's own failure. */
  | { readonly kind: "failed"; readonly error: ErrorBody };

export interface RetryPolicy {
  readonly retriesMax: number;
  readonly backoffMs: number;
}

/** What has happened to a call so far. */
export interface RetryState {
  readonly effect: Effect;
  /** Whether it has an idempotency key. */
  readonly hasKey: boolean;
  /** Attempts made, this one included. */
  readonly attempts: number;
  /** Retries that counted against `retriesMax`. */
  readonly countedRetries: number;
  /** Whether an endpoint is left that this call has not tried. */
  readonly hasOther: boolean;
  readonly remainingMs: number;
  /** Uniform in [0, 1). */
  readonly jitter: number;
}

export type RetryDecision =
  | { readonly kind: "give-up" }
  | { readonly kind: "retry"; readonly delayMs: number; readonly counts: boolean };

/** Endpoints tried by one call, however quickly each refuses: bounds the work of a call into a stale view. */
export const ATTEMPTS_MAX = 16;

export function decideRetry(failure: AttemptFailure, state: RetryState, policy: RetryPolicy): RetryDecision {
  if (!mayRetry(failure, state)) return { kind: "give-up" };
  // Moving on from what never started costs nobody anything. Attempts that may have run count always: a call that
  // kills the worker it reaches must not visit every instance.
  const counts = !state.hasOther || failure.kind === "no-answer";
  if (counts && state.countedRetries >= policy.retriesMax) return { kind: "give-up" };
  if (state.attempts >= ATTEMPTS_MAX) return { kind: "give-up" };
  const delayMs = delayBefore(failure, state, policy);
  return delayMs < state.remainingMs ? { kind: "retry", delayMs, counts } : { kind: "give-up" };
}

function mayRetry(failure: AttemptFailure, { effect, hasKey }: RetryState): boolean {
  switch (failure.kind) {
    case "not-sent":
      return true;
    case "not-started":
      // Invalid input is invalid everywhere.
      return ERRORS[failure.error.code].retry !== "never";
    case "no-answer":
      // What the record of a key says to be unknown stays so.
      return (effect !== "write" || hasKey) && failure.error.details?.["isFinal"] !== true;
    case "failed":
      return false;
    default:
      return unreachable(failure);
  }
}

/** At once to an endpoint not tried yet; with back-off to one that was, and to anybody after "overloaded". */
function delayBefore(failure: AttemptFailure, state: RetryState, policy: RetryPolicy): number {
  if (state.hasOther && failure.error.code !== "E_OVERLOADED") return 0;
  const exponent = Math.min(state.countedRetries, 10);
  // Half fixed, half random, so that callers refused together do not come back together.
  return policy.backoffMs * 2 ** exponent * (0.5 + state.jitter / 2);
}
