// Owns: what a job's owner does about a call of a tool whose outcome nobody knows: make it again, ask the tool, or wait
// for a person. Time alone never answers; it only makes "not done" credible.
import { unreachable } from "../../../base/assert.ts";
import { MINUTE_MS, SECOND_MS } from "../../../base/units.ts";
import type { Resolution } from "../log/event.ts";
import type { ReconcileAnswer } from "../worker/messages.ts";
import { isOpen } from "./ledger.ts";
import type { ToolRow } from "./tool-row.ts";

/**
 * A request that left before its sender died is taken to arrive within this time after the call's own deadline, unless
 * its tool says otherwise.
 */
export const SETTLE_MS = MINUTE_MS;

const ASK_AGAIN_FIRST_MS = SECOND_MS;
const ASK_AGAIN_MS_MAX = 5 * MINUTE_MS;

export type OpenCallPlan = "grant-again" | "reconcile" | "wait-for-person" | "nothing";

/** What a new owner does about a call that it finds in the ledger. */
export function onTakeOver(row: ToolRow): OpenCallPlan {
  if (!isOpen(row)) return "nothing";
  switch (row.effect) {
    case "read":
    case "idempotent":
      return "grant-again";
    case "once":
      return row.canReconcile ? "reconcile" : "wait-for-person";
    default:
      return unreachable(row.effect);
  }
}

export interface Asked {
  /**
   * How long the call had been lost when the question was put, on the owner's monotonic clock: since the owner claimed
   * the job or saw the call lost, whichever is later.
   */
  readonly sinceLostMs: number;
  /** How often the question was put, this time included. */
  readonly times: number;
}

export type ReconcileStep =
  | { readonly kind: "resolved"; readonly resolution: Exclude<Resolution, { readonly kind: "given-up" }> }
  | { readonly kind: "ask-again"; readonly inMs: number };

/** "Not done" is believed when it is final, or said when no request of ours can arrive any more. */
export function onReconcile(row: ToolRow, answer: ReconcileAnswer, asked: Asked): ReconcileStep {
  const againMs = Math.min(ASK_AGAIN_FIRST_MS * 2 ** Math.min(asked.times - 1, 20), ASK_AGAIN_MS_MAX);
  switch (answer.kind) {
    case "done":
      return { kind: "resolved", resolution: { kind: "done", result: answer.result } };
    case "not-done": {
      const leftMs = row.timeoutMs + (row.settleMs ?? SETTLE_MS) - asked.sinceLostMs;
      if (answer.isFinal || leftMs <= 0) return { kind: "resolved", resolution: { kind: "not-done" } };
      return { kind: "ask-again", inMs: Math.min(againMs, leftMs) };
    }
    case "unknown":
      return { kind: "ask-again", inMs: againMs };
    default:
      return unreachable(answer);
  }
}
