// Owns: what a caller is told of a command: the answer, or an error that says what is known of the outcome.
// Does not own: what the command did (core/state-machine.ts).
import { unreachable } from "../base/assert.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { ProposeOutcome } from "../consensus/group.ts";
import { TXN_READ_BYTES_MAX } from "./core/limits.ts";
import type { OpResult, TxnResult } from "./core/schema.ts";
import type { CommandResult, RefusedCommand, StoredOpResult } from "./core/state-machine.ts";
import { toKvEntry } from "./core/stored-entry.ts";
import type { ApplyResult } from "./kv-state.ts";

/** The end of a transaction. A failure whose outcome is unknown says so in the error. */
export type TxnOutcome =
  | { readonly kind: "done"; readonly result: TxnResult }
  | { readonly kind: "failed"; readonly error: AetherError };

export type AppliedResult = Exclude<CommandResult, RefusedCommand>;

/** What came of a command: its result, unless every node refused it or nobody knows. */
export type Applied =
  | { readonly kind: "applied"; readonly result: AppliedResult }
  | { readonly kind: "failed"; readonly error: AetherError };

const UNKNOWN_OUTCOME = "it may or may not be applied; read before you repeat it";
const NOT_APPLIED = { outcome: "not-applied" } as const;

export function toApplied(outcome: ProposeOutcome): Applied {
  switch (outcome.kind) {
    case "applied":
      return readResult(toApplyResult(outcome.result));
    case "refused":
      return failed(new AetherError(outcome.code, `the write was not proposed: ${outcome.reason}`, NOT_APPLIED));
    case "unknown":
      return failed(new AetherError("E_TIMEOUT", `${outcome.reason}: ${UNKNOWN_OUTCOME}`));
    default:
      return unreachable(outcome);
  }
}

export function toTxnOutcome(applied: Applied): TxnOutcome {
  if (applied.kind === "failed") return applied;
  if (applied.result.kind === "done") return finishedTxn(applied.result);
  return failed(new AetherError("E_INTERNAL", `a transaction was answered as a command "${applied.result.kind}"`));
}

export function writeTimeout(timeoutMs: number): AetherError {
  const message = `no answer to the write within ${timeoutMs} ms: ${UNKNOWN_OUTCOME}`;
  return new AetherError("E_TIMEOUT", message, { details: { timeoutMs } });
}

export function writeAborted(signal: AbortSignal): AetherError {
  const message = `the caller gave up on a write under way: ${UNKNOWN_OUTCOME}`;
  return new AetherError("E_TIMEOUT", message, { cause: signal.reason });
}

export function abortedBefore(signal: AbortSignal): AetherError {
  return new AetherError("E_TIMEOUT", "the caller had given up before the request began", {
    outcome: "not-applied",
    cause: signal.reason,
  });
}

function readResult(result: ApplyResult): Applied {
  if (result.kind === "refused") {
    const { code, reason, outcome, details } = result;
    return failed(new AetherError(code, `every node refused the write: ${reason}`, { outcome, details }));
  }
  if (result.kind !== "lost") return { kind: "applied", result };
  const message = `this node's state has failed: ${UNKNOWN_OUTCOME}`;
  return failed(new AetherError("E_UNAVAILABLE", message, { outcome: "unknown" }));
}

function finishedTxn(result: Extract<CommandResult, { kind: "done" }>): TxnOutcome {
  const { succeeded, revision } = result;
  const bytes = bytesRead(result.results);
  if (bytes > TXN_READ_BYTES_MAX) return failed(tooMuchRead(result, bytes));
  try {
    return { kind: "done", result: { succeeded, revision, results: result.results.map(toOpResult) } };
  } catch (error) {
    const reason = toAetherError(error).message;
    const message = `the transaction is applied, but an entry that it read cannot be decoded: ${reason}`;
    return failed(new AetherError("E_INTERNAL", message, { cause: error }));
  }
}

function bytesRead(results: readonly StoredOpResult[]): number {
  let bytes = 0;
  for (const result of results) if (result.kind === "get") bytes += result.entry?.block.length ?? 0;
  return bytes;
}

function tooMuchRead({ changes }: Extract<CommandResult, { kind: "done" }>, actual: number): AetherError {
  const limit = TXN_READ_BYTES_MAX;
  const what = changes.length === 0 ? "the transaction changed nothing" : "the transaction is applied";
  return new AetherError("E_TOO_LARGE", `${what}, but its gets found ${actual} bytes, over ${limit}: get fewer keys`, {
    outcome: changes.length === 0 ? "not-applied" : "unknown",
    details: { limit, actual },
  });
}

function toOpResult(result: StoredOpResult): OpResult {
  if (result.kind !== "get") return result;
  return result.entry === undefined ? { kind: "get" } : { kind: "get", entry: toKvEntry(result.key, result.entry) };
}

/** The group hands back what the state machine of this process gave it. */
function toApplyResult(result: unknown): ApplyResult {
  return result as ApplyResult;
}

function failed(error: AetherError): { readonly kind: "failed"; readonly error: AetherError } {
  return { kind: "failed", error };
}
