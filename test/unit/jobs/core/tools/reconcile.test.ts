import { describe, expect, test } from "vitest";
import { sha256 } from "../../../../../src/base/digest.ts";
import type { CallName } from "../../../../../src/jobs/core/ids.ts";
import type { ToolEffect } from "../../../../../src/jobs/core/log/event.ts";
import { onReconcile, onTakeOver, SETTLE_MS } from "../../../../../src/jobs/core/tools/reconcile.ts";
import { TOOL_STATES, type ToolRow, type ToolState } from "../../../../../src/jobs/core/tools/tool-row.ts";

const TIMEOUT_MS = 2_000;

function rowIn(state: ToolState, effect: ToolEffect, canReconcile = true): ToolRow {
  return {
    state, effectId: sha256("effect"), call: "/charge#1" as CallName, tool: "charge", effect, canReconcile, epoch: 3,
    attempt: 1, inputDigest: sha256("input"), timeoutMs: TIMEOUT_MS, seq: 5,
  };
}

describe("a new owner", () => {
  test.each(TOOL_STATES.flatMap((state) => (["read", "idempotent", "once"] as const).flatMap((effect) =>
    [true, false].map((canReconcile) => ({ state, effect, canReconcile })))))(
    "$state, $effect, reconcile $canReconcile",
    ({ state, effect, canReconcile }) => {
      const isClosed = state === "succeeded" || state === "failed";
      const once = canReconcile ? "reconcile" : "wait-for-person";
      const expected = isClosed ? "nothing" : effect === "once" ? once : "grant-again";
      expect(onTakeOver(rowIn(state, effect, canReconcile))).toBe(expected);
    },
  );
});

describe("what reconcile says", () => {
  const row = rowIn("unknown", "once");
  const notDone = { kind: "not-done", isFinal: false } as const;

  test("done is believed at once", () => {
    expect(onReconcile(row, { kind: "done", result: 7 }, { sinceLostMs: 0, times: 1 }))
      .toEqual({ kind: "resolved", resolution: { kind: "done", result: 7 } });
  });

  test("a final not-done is believed at once", () => {
    expect(onReconcile(row, { kind: "not-done", isFinal: true }, { sinceLostMs: 0, times: 1 }))
      .toEqual({ kind: "resolved", resolution: { kind: "not-done" } });
  });

  test("not-done is believed only after the call's own time and the settling", () => {
    const settledMs = TIMEOUT_MS + SETTLE_MS;
    expect(onReconcile(row, notDone, { sinceLostMs: settledMs - 1, times: 9 })).toEqual({ kind: "ask-again", inMs: 1 });
    expect(onReconcile(row, notDone, { sinceLostMs: settledMs, times: 9 }))
      .toEqual({ kind: "resolved", resolution: { kind: "not-done" } });
  });

  test("asks again after 1 s, doubling, up to 5 min", () => {
    const waits = [1, 2, 3, 8, 9, 10, 500].map((times) =>
      onReconcile(row, { kind: "unknown", reason: "busy" }, { sinceLostMs: 0, times }));
    expect(waits.map((step) => step.kind === "ask-again" ? step.inMs : undefined))
      .toEqual([1_000, 2_000, 4_000, 128_000, 256_000, 300_000, 300_000]);
  });

  test("unknown is never believed, however much time has passed (JOB5)", () => {
    const step = onReconcile(row, { kind: "unknown", reason: "busy" }, { sinceLostMs: 1e12, times: 50 });
    expect(step.kind).toBe("ask-again");
  });

  test("the settling that its tool names is heeded", () => {
    const own = { ...row, settleMs: 500 };
    const kindAfter = (sinceLostMs: number): string => onReconcile(own, notDone, { sinceLostMs, times: 1 }).kind;
    expect(kindAfter(TIMEOUT_MS + 499)).toBe("ask-again");
    expect(kindAfter(TIMEOUT_MS + 500)).toBe("resolved");
  });
});
