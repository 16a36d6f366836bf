// Owns: what a failed instance may expect: whether trying again can help, and how long it waits.
// The class is data in the row (`error.fatal`), so that every leader decides alike.
import type { AetherError } from "../../../base/errors.ts";
import type { ErrorCode } from "../../../base/error-catalog.ts";
import { MINUTE_MS, SECOND_MS } from "../../../base/units.ts";
import type { InstanceFailure, InstanceRow } from "../../../slices/core/instance-row.ts";

export const BACK_OFF_FIRST_MS = SECOND_MS;
export const BACK_OFF_MS_MAX = MINUTE_MS;
/** An instance that served this long starts its count of attempts anew when it is lost; a quick crash does not. */
export const STABLE_AFTER_MS = MINUTE_MS;
/** Longest reason kept in a row: enough for a person, small beside the row. */
const MESSAGE_CHARS_MAX = 1_000;

/** The same artifact and config will fail alike, wherever and whenever they are tried. */
const FATAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "E_INVALID", "E_NOT_FOUND", "E_CONFLICT", "E_TOO_LARGE", "E_VERSION",
]);

export function isFatal(error: AetherError): boolean {
  return FATAL.has(error.code);
}

/** How long an instance that failed in its `attempt`-th attempt waits for the next; 0 is "it did nothing wrong". */
export function backOffMs(attempt: number): number {
  if (attempt <= 0) return 0;
  // The exponent is capped first: 2 ** 1,000 is not a number of milliseconds.
  return Math.min(BACK_OFF_FIRST_MS * 2 ** Math.min(attempt - 1, 16), BACK_OFF_MS_MAX);
}

/**
 * How many attempts to count for an instance whose node ended under it: it may be what ended the node. One that was
 * coming up, or had not served for long, keeps its count, and with it waits longer each time.
 */
export function attemptAfterCrash(row: InstanceRow, nowWallMs: number): number {
  const isComingUp = row.state === "LOADING" || row.state === "ACTIVATING";
  const isNew = row.state === "ACTIVE" && nowWallMs - row.sinceMs < STABLE_AFTER_MS;
  return isComingUp || isNew ? row.attempt : 0;
}

/**
 * Whether an instance may be what ended its node, as the leader sees its row, which has not changed for so long. It may
 * have waited for its next attempt since.
 */
export function mayHaveEndedItsNode({ state, attempt }: InstanceRow, unchangedForMs: number): boolean {
  if (state === "LOADING" || state === "ACTIVATING") return true;
  return state === "ACTIVE" && unchangedForMs < STABLE_AFTER_MS + backOffMs(attempt);
}

/** Why an instance is loaded again that was on a node that is gone. */
export function lostWithNode({ node, state }: { readonly node: string; readonly state: string }): InstanceFailure {
  const message = `its node ${node} ended while it was ${state}: it may be what ended it`;
  return { code: "E_UNAVAILABLE", message, fatal: false };
}

export interface FailedAttempt {
  /** For people: the leader waits by its own clock. */
  readonly nowWallMs: number;
  readonly attempt: number;
}

/** The row of an instance that failed for `error`. */
export function failedRow(row: InstanceRow, error: AetherError, at: FailedAttempt): InstanceRow {
  const fatal = isFatal(error);
  const failure: InstanceFailure = {
    code: error.code,
    message: error.message.slice(0, MESSAGE_CHARS_MAX),
    fatal,
    ...(fatal ? {} : { retryAtMs: at.nowWallMs + backOffMs(at.attempt) }),
  };
  return { ...row, state: "FAILED", sinceMs: at.nowWallMs, attempt: at.attempt, error: failure };
}
