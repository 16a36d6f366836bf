// Owns: the classes of failed calls, which a caller finds in `details.class` of the error, on every way it may come.
// Does not own: what may be tried again (invocation/core/retry-policy.ts), what a code means (base/error-catalog.ts).
import type { ErrorBody } from "../../base/errors.ts";

/** Exactly one per failed call. */
export type CallFailureClass =
  /** No instance got it. */
  | "not-sent"
  /** The callee refused it before its handler began. */
  | "not-started"
  /** It was sent, it may have run, and no answer came. */
  | "no-answer"
  /** The handler ran and failed, or answered what its contract does not allow. */
  | "handler"
  /** Nobody had room for it; no handler began. */
  | "overloaded";

/** The error with its class; whatever stood there before is replaced. */
export function withClass(error: ErrorBody, failureClass: CallFailureClass): ErrorBody {
  return { ...error, details: { ...error.details, class: failureClass } };
}

/** The class in an error's details; undefined when there is none that this release knows. */
export function classOf({ details }: Pick<ErrorBody, "details">): CallFailureClass | undefined {
  const found = details?.["class"];
  switch (found) {
    case "not-sent":
    case "not-started":
    case "no-answer":
    case "handler":
    case "overloaded":
      return found;
    default:
      return undefined;
  }
}
