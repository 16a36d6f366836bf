// Owns: what may become of a call of a tool, as one table, and the row and event of each change. A call that may have
// happened is never made again unless its effect allows it, or the tool, its reconcile or a person said it had not.
// Does not own: what is to be done about a call whose outcome nobody knows (reconcile.ts).
import { unreachable } from "../../../base/assert.ts";
import type { Digest } from "../../../base/ids.ts";
import type { Amount } from "../budget/account.ts";
import type { CallName, EffectId } from "../ids.ts";
import type { JobEvent, ModelUsage, Resolution, Resolver, ToolEffect } from "../log/event.ts";
import type { Apart, BlobRef } from "../payloads/blob.ts";
import type { JobError } from "../rows.ts";
import type { ToolOutcome } from "../worker/messages.ts";
import type { ToolRow, ToolState } from "./tool-row.ts";

/**
 * `lose`: its worker ended, its time was over, or its owner's epoch did. `doubt`: the job was restored from a backup,
 * after which the call may have been made. `done`, `not-done`: its reconcile or a person says so. `give-up`: a person
 * ends the question without an answer, and the job fails.
 */
export type ToolStep =
  "grant" | "succeed" | "throw" | "throw-not-done" | "lose" | "doubt" | "done" | "not-done" | "give-up";

type NextOf = Readonly<Record<ToolStep, ToolState | "refuse">>;

const NOTHING: NextOf = {
  "grant": "refuse", "succeed": "refuse", "throw": "refuse", "throw-not-done": "refuse", "lose": "refuse",
  "doubt": "refuse", "done": "refuse", "not-done": "refuse", "give-up": "refuse",
};
const GRANT_ONLY: NextOf = { ...NOTHING, grant: "granted" };
/** What may be made again needs no doubt. */
const GRANT_ONCE: NextOf = { ...GRANT_ONLY, doubt: "unknown" };
const UNDER_WAY: NextOf = { ...NOTHING, "succeed": "succeeded", "throw-not-done": "failed", "lose": "unknown" };
/** An answer of the tool itself may come after its time was over. */
const IN_DOUBT: NextOf = {
  ...NOTHING, "succeed": "succeeded", "throw-not-done": "failed", "done": "succeeded", "not-done": "failed",
  "give-up": "failed",
};

/** What a call becomes; `none` while it was never granted. */
export const NEXT_TOOL: Readonly<Record<ToolState | "none", Readonly<Record<ToolEffect, NextOf>>>> = {
  none: { read: GRANT_ONLY, idempotent: GRANT_ONLY, once: GRANT_ONCE },
  granted: {
    read: { ...UNDER_WAY, throw: "failed" },
    idempotent: { ...UNDER_WAY, throw: "failed" },
    once: { ...UNDER_WAY, throw: "unknown" },
  },
  failed: { read: GRANT_ONLY, idempotent: GRANT_ONLY, once: GRANT_ONCE },
  unknown: {
    read: { ...IN_DOUBT, throw: "failed", grant: "granted" },
    idempotent: { ...IN_DOUBT, throw: "failed", grant: "granted" },
    once: { ...IN_DOUBT, doubt: "unknown" },
  },
  succeeded: { read: NOTHING, idempotent: NOTHING, once: NOTHING },
};

interface Refusal {
  readonly kind: "refused";
  readonly reason: string;
}

export type LedgerStep =
  | Refusal
  | { readonly kind: "changed"; readonly row: ToolRow; readonly event: JobEvent };

/** Where in the log a change stands: the number that its event will have, and the epoch of the job's owner. */
export interface LedgerPlace {
  readonly seq: number;
  readonly epoch: number;
}

export interface ToolGrant {
  readonly effectId: EffectId;
  readonly call: CallName;
  readonly tool: string;
  readonly effect: ToolEffect;
  readonly canReconcile: boolean;
  readonly input: unknown;
  readonly inputDigest: Digest;
  readonly timeoutMs: number;
  readonly settleMs?: number;
  /** Of a job with a budget: the most that it can cost. */
  readonly reserved?: Amount;
  /** Of an input that is stored apart. */
  readonly blob?: BlobRef;
}

/** While a job has any of these it does not end. */
export function isOpen({ state }: Pick<ToolRow, "state">): boolean {
  return state === "granted" || state === "unknown";
}

/** The call may be dispatched once this is committed. `row` is what is known of it, undefined for the first time. */
export function applyGrant(row: ToolRow | undefined, grant: ToolGrant, { seq, epoch }: LedgerPlace): LedgerStep {
  const next = nextAttempt(row, grant, "grant");
  if (next.kind === "refused") return next;
  const { input, blob, ...kept } = grant;
  const { effect, attempt } = next;
  const { effectId, call, tool, canReconcile, inputDigest, timeoutMs } = kept;
  return {
    kind: "changed",
    row: { ...kept, effect, state: "granted", epoch, attempt, seq },
    event: {
      type: "tool.granted", call, tool, effect, canReconcile, effectId, attempt, input, inputDigest, timeoutMs,
      ...reservedOf(kept),
      ...(blob !== undefined && { blob }),
    },
  };
}

/** Before it is granted it is to be found out whether it was made after the backup that the job comes from. */
export function applyDoubt(row: ToolRow | undefined, grant: ToolGrant, { seq, epoch }: LedgerPlace): LedgerStep {
  const next = nextAttempt(row, grant, "doubt");
  if (next.kind === "refused") return next;
  const { input, blob, ...kept } = grant;
  const { effect, attempt } = next;
  const { effectId, call, tool, canReconcile, inputDigest, timeoutMs } = kept;
  const reason = "its job comes from a backup, after which it may have been made";
  return {
    kind: "changed",
    row: { ...kept, effect, state: "unknown", epoch, attempt, seq, reason },
    event: {
      type: "tool.doubted", call, tool, effect, canReconcile, effectId, attempt, input, inputDigest, timeoutMs, reason,
      ...reservedOf(kept),
      ...(blob !== undefined && { blob }),
    },
  };
}

function reservedOf({ reserved }: Pick<ToolGrant, "reserved">): Pick<ToolGrant, "reserved"> {
  return reserved === undefined ? {} : { reserved };
}

/** The effect of a call is what it was granted as, not what newer code says it is. */
export function effectOf(row: ToolRow | undefined, grant: Pick<ToolGrant, "effect">): ToolEffect {
  return row?.effect ?? grant.effect;
}

type NextAttempt =
  | Refusal
  | { readonly kind: "next"; readonly effect: ToolEffect; readonly attempt: number };

function nextAttempt(row: ToolRow | undefined, grant: ToolGrant, step: "grant" | "doubt"): NextAttempt {
  const effect = effectOf(row, grant);
  if (NEXT_TOOL[row?.state ?? "none"][effect][step] === "refuse") return refusal(row, `${step}ed`);
  if (row !== undefined && row.inputDigest !== grant.inputDigest) {
    return { kind: "refused", reason: `the call ${grant.call} was granted with another input before` };
  }
  return { kind: "next", effect, attempt: (row?.attempt ?? 0) + 1 };
}

/** What the tool itself came to. An outcome of an earlier epoch is refused: that call was given up as lost. */
export function applyOutcome(row: ToolRow, outcome: ToolOutcome, place: LedgerPlace): LedgerStep {
  if (row.epoch !== place.epoch) {
    return { kind: "refused", reason: `the call ${row.call} was granted in epoch ${row.epoch}, which is over` };
  }
  const next = nextOf(row, stepOfOutcome(outcome));
  if (next === "refuse") return refusal(row, "answered");
  if (row.state === "unknown") return answeredLate(row, outcome, place);
  switch (outcome.kind) {
    case "succeeded":
      return { kind: "changed", row: closed(row, next, place, outcome), event: succeededEvent(row, outcome) };
    case "failed":
      return next === "unknown"
        ? inDoubt(row, errorText(outcome.error), place)
        : { kind: "changed", row: closed(row, next, place, outcome), event: failedEvent(row, outcome) };
    case "unknown":
      return inDoubt(row, outcome.reason, place);
    default:
      return unreachable(outcome);
  }
}

/** Nobody is going to hear what became of it. */
export function applyLoss(row: ToolRow, reason: string, place: LedgerPlace): LedgerStep {
  return nextOf(row, "lose") === "refuse" ? refusal(row, "given up as lost") : inDoubt(row, reason, place);
}

/** What `reconcile` found out, once it is to be believed. */
export function applyReconcile(
  row: ToolRow,
  resolution: Exclude<Resolution, { readonly kind: "given-up" }>,
  place: LedgerPlace,
): LedgerStep {
  return applyResolution(row, resolution, { kind: "reconcile" }, place);
}

/** What a person says. With `given-up` the job has to fail. */
export function applyPerson(row: ToolRow, resolution: Resolution, principal: string, place: LedgerPlace): LedgerStep {
  return applyResolution(row, resolution, { kind: "person", principal }, place);
}

function answeredLate(row: ToolRow, outcome: ToolOutcome, place: LedgerPlace): LedgerStep {
  switch (outcome.kind) {
    case "succeeded": {
      const resolution: Resolution = { kind: "done", result: outcome.result };
      const { row: after, event } = resolved(row, resolution, { kind: "late" }, place, outcome);
      return { kind: "changed", row: { ...after, ...externalIdOf(outcome) }, event };
    }
    case "failed":
      // The code has been told by its worker: it has to hear the same when it runs again.
      return { kind: "changed", row: closed(row, "failed", place, outcome), event: failedEvent(row, outcome) };
    case "unknown":
      return refusal(row, "answered");
    default:
      return unreachable(outcome);
  }
}

function applyResolution(row: ToolRow, resolution: Resolution, by: Resolver, place: LedgerPlace): LedgerStep {
  const next = nextOf(row, stepOfResolution(resolution));
  return next === "refuse" ? refusal(row, "resolved") : resolved(row, resolution, by, place);
}

function resolved(
  row: ToolRow,
  resolution: Resolution,
  by: Resolver,
  place: LedgerPlace,
  { problem, blob }: { readonly problem?: string } & Apart = {},
): Extract<LedgerStep, { readonly kind: "changed" }> {
  const state = resolution.kind === "done" ? "succeeded" : "failed";
  return {
    kind: "changed",
    row: closed(row, state, place),
    event: {
      type: "tool.resolved", call: row.call, effectId: row.effectId, by, resolution,
      ...(problem !== undefined && { problem }), ...(blob !== undefined && { blob }),
    },
  };
}

function inDoubt(row: ToolRow, reason: string, { seq }: LedgerPlace): LedgerStep {
  return {
    kind: "changed",
    row: { ...row, state: "unknown", seq, reason },
    event: { type: "tool.unknown", call: row.call, effectId: row.effectId, reason },
  };
}

/** The row without what only an open call has. */
function closed(
  { reason: _reason, reserved: _reserved, ...row }: ToolRow,
  state: ToolState,
  { seq }: LedgerPlace,
  answer: { readonly externalId?: string; readonly usage?: ModelUsage; readonly cost?: Amount } = {},
): ToolRow {
  const { usage, cost } = answer;
  return {
    ...row, state, seq, ...externalIdOf(answer),
    ...(usage === undefined ? {} : { usage }), ...(cost === undefined ? {} : { cost }),
  };
}

function succeededEvent(
  { call, effectId }: ToolRow,
  { kind: _kind, ...answer }: Extract<ToolOutcome, { readonly kind: "succeeded" }>,
): JobEvent {
  return { type: "tool.succeeded", call, effectId, ...answer };
}

function failedEvent(
  { call, effectId }: ToolRow, { error, cost }: Extract<ToolOutcome, { readonly kind: "failed" }>,
): JobEvent {
  return { type: "tool.failed", call, effectId, error, ...(cost !== undefined && { cost }) };
}

function externalIdOf({ externalId }: { readonly externalId?: string }): { readonly externalId?: string } {
  return externalId === undefined ? {} : { externalId };
}

function nextOf({ state, effect }: ToolRow, step: ToolStep): ToolState | "refuse" {
  return NEXT_TOOL[state][effect][step];
}

function stepOfOutcome(outcome: ToolOutcome): ToolStep {
  switch (outcome.kind) {
    case "succeeded":
      return "succeed";
    case "failed":
      return outcome.isNotDone ? "throw-not-done" : "throw";
    case "unknown":
      return "lose";
    default:
      return unreachable(outcome);
  }
}

function stepOfResolution(resolution: Resolution): ToolStep {
  switch (resolution.kind) {
    case "done":
    case "not-done":
      return resolution.kind;
    case "given-up":
      return "give-up";
    default:
      return unreachable(resolution);
  }
}

function refusal(row: ToolRow | undefined, what: string): Refusal {
  const call = row === undefined ? "a call that was never granted" : `the call ${row.call}`;
  return { kind: "refused", reason: `${call} is ${row?.state ?? "not known"} and cannot be ${what}` };
}

function errorText({ name, message }: JobError): string {
  return `${name}: ${message}`;
}
