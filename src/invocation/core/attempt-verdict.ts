// Owns: what an attempt says of the endpoint it went to, and of which class a failed one is.
// Does not own: what follows for the call (retry-policy.ts), what follows for the endpoint (breaker.ts).
import { unreachable } from "../../base/assert.ts";
import { ERRORS } from "../../base/error-catalog.ts";
import type { CallFailureClass } from "../../slices/core/call-failure.ts";
import type { IncomingReply } from "../../slices/host/running-instances.ts";
import type { AttemptFailure } from "./retry-policy.ts";

export type AttemptResult = Extract<IncomingReply, { kind: "ok" }> | AttemptFailure;

export type Verdict =
  /** It answered, and how long that took counts. */
  | "answered"
  /** It works, but its handler failed, which is the handler's own business. */
  | "handled"
  | "failed"
  /** The attempt says nothing: its caller left, had no patience, or sent what nobody takes. */
  | "neutral";

/** How the attempt went, seen from here. */
export interface AttemptCourse {
  /** What the caller gave it. */
  readonly timeoutMs: number;
  readonly waitedMs: number;
  /** What the endpoint usually takes; undefined when nothing is known. */
  readonly usualMs: number | undefined;
  readonly hasCallerLeft: boolean;
}

export function judgeAttempt(result: AttemptResult, course: AttemptCourse): Verdict {
  switch (result.kind) {
    case "ok":
      return "answered";
    case "not-sent":
      return "failed";
    case "not-started":
      if (result.error.code === "E_TIMEOUT") return judgeSilence(course);
      // Its contract allows no more now, however well it works.
      if (typeof result.error.details?.["retryAfterMs"] === "number") return "neutral";
      return ERRORS[result.error.code].retry === "never" ? "neutral" : "failed";
    case "no-answer":
      return judgeSilence(course);
    case "failed":
      return result.error.code === "E_INTERNAL" ? "failed" : "handled";
    default:
      return unreachable(result);
  }
}

/** A caller that leaves when its time is nearly over leaves because of it: its clock began before ours. */
const TIME_IS_OVER_SHARE = 0.8;

/** Silence counts against the endpoint, but not that of one which was given less time than it usually takes. */
function judgeSilence({ timeoutMs, waitedMs, usualMs, hasCallerLeft }: AttemptCourse): Verdict {
  const isTimeOver = waitedMs >= timeoutMs * TIME_IS_OVER_SHARE;
  if (hasCallerLeft && !isTimeOver) return "neutral";
  return isTimeOver && usualMs !== undefined && timeoutMs < usualMs ? "neutral" : "failed";
}

export function classOfFailure(failure: AttemptFailure): CallFailureClass {
  switch (failure.kind) {
    case "not-sent":
    case "not-started":
      return failure.error.code === "E_OVERLOADED" ? "overloaded" : failure.kind;
    case "no-answer":
      return "no-answer";
    case "failed":
      return "handler";
    default:
      return unreachable(failure);
  }
}
