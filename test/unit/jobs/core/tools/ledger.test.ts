import { describe, expect, test } from "vitest";
import { sha256 } from "../../../../../src/base/digest.ts";
import type { CallName } from "../../../../../src/jobs/core/ids.ts";
import type { ToolEffect } from "../../../../../src/jobs/core/log/event.ts";
import {
  applyDoubt, applyGrant, applyLoss, applyOutcome, applyPerson, applyReconcile, isOpen, NEXT_TOOL, type LedgerPlace,
  type LedgerStep, type ToolGrant, type ToolStep,
} from "../../../../../src/jobs/core/tools/ledger.ts";
import {
  parseToolRow, TOOL_STATES, type ToolRow, type ToolState,
} from "../../../../../src/jobs/core/tools/tool-row.ts";
import type { ToolOutcome } from "../../../../../src/jobs/core/worker/messages.ts";

const EFFECTS: readonly ToolEffect[] = ["read", "idempotent", "once"];
const STATES: readonly (ToolState | "none")[] = ["none", ...TOOL_STATES];
const STEPS = Object.keys(NEXT_TOOL.none.once) as readonly ToolStep[];
const PLACE: LedgerPlace = { seq: 9, epoch: 3 };
const GRANT: ToolGrant = {
  effectId: sha256("effect"), call: "/charge#1" as CallName, tool: "charge", effect: "once", canReconcile: true,
  input: { cents: 5 }, inputDigest: sha256("input"), timeoutMs: 2_000,
};
const ERROR = { name: "Error", message: "refused" };
const OUTCOMES: Readonly<Record<"succeed" | "throw" | "throw-not-done" | "lose", ToolOutcome>> = {
  "succeed": { kind: "succeeded", result: 7, externalId: "ch-1" },
  "throw": { kind: "failed", error: ERROR, isNotDone: false },
  "throw-not-done": { kind: "failed", error: ERROR, isNotDone: true },
  "lose": { kind: "unknown", reason: "no answer in time" },
};

function rowIn(state: ToolState, effect: ToolEffect): ToolRow {
  const { input: _input, ...kept } = GRANT;
  const reason = state === "unknown" ? { reason: "no answer in time" } : {};
  return { ...kept, effect, state, epoch: PLACE.epoch, attempt: 1, seq: 5, ...reason };
}

/** The rules as sentences, apart from the table: what is not said here is refused. */
function oracle(state: ToolState | "none", effect: ToolEffect, step: ToolStep): ToolState | "refuse" {
  const mayRepeat = effect !== "once";
  const isPossible = state === "granted" || state === "unknown";
  if (step === "grant") {
    if (state === "none" || state === "failed") return "granted";
    // A person or its reconcile has to speak before a once effect goes out again.
    return state === "unknown" && mayRepeat ? "granted" : "refuse";
  }
  // Of what is granted its owner hears, and what was done is done.
  if (step === "doubt") return mayRepeat || state === "granted" || state === "succeeded" ? "refuse" : "unknown";
  if (!isPossible) return "refuse";
  if (step === "succeed") return "succeeded";
  if (step === "throw-not-done") return "failed";
  if (state === "granted") {
    if (step === "throw") return mayRepeat ? "failed" : "unknown";
    return step === "lose" ? "unknown" : "refuse";
  }
  // What may be made twice has failed whenever it says so.
  if (step === "throw") return mayRepeat ? "failed" : "refuse";
  if (step === "done") return "succeeded";
  return step === "not-done" || step === "give-up" ? "failed" : "refuse";
}

function apply(state: ToolState | "none", effect: ToolEffect, step: ToolStep): LedgerStep | undefined {
  if (step === "grant" || step === "doubt") {
    const row = state === "none" ? undefined : rowIn(state, effect);
    return (step === "grant" ? applyGrant : applyDoubt)(row, { ...GRANT, effect }, PLACE);
  }
  if (state === "none") return undefined;
  const row = rowIn(state, effect);
  switch (step) {
    case "done":
      return applyReconcile(row, { kind: "done", result: 7 }, PLACE);
    case "not-done":
      return applyPerson(row, { kind: "not-done" }, "ann", PLACE);
    case "give-up":
      return applyPerson(row, { kind: "given-up", reason: "too late" }, "ann", PLACE);
    default:
      return applyOutcome(row, OUTCOMES[step], PLACE);
  }
}

const CELLS = STATES.flatMap((state) => EFFECTS.flatMap((effect) => STEPS.map((step) => ({ state, effect, step }))));

describe("the table of calls of tools", () => {
  test("has every cell", () => {
    expect(CELLS).toHaveLength(5 * 3 * 9);
  });

  test.each(CELLS)("$state, $effect: $step is as the rules say", ({ state, effect, step }) => {
    const expected = oracle(state, effect, step);
    expect(NEXT_TOOL[state][effect][step]).toBe(expected);
    const applied = apply(state, effect, step);
    if (applied === undefined) return;
    if (expected === "refuse") {
      expect(applied.kind).toBe("refused");
      return;
    }
    expect(applied).toMatchObject({ kind: "changed", row: { state: expected, effect, seq: PLACE.seq } });
    if (applied.kind === "changed") {
      expect(parseToolRow(applied.row)).toEqual(applied.row);
      expect("reason" in applied.row).toBe(expected === "unknown");
    }
  });

  test("time alone never makes an unknown outcome known: only answers leave it (JOB5)", () => {
    const leaving = STEPS.filter((step) => !["refuse", "unknown"].includes(NEXT_TOOL.unknown.once[step]));
    expect(leaving).toEqual(["succeed", "throw-not-done", "done", "not-done", "give-up"]);
  });

  test("a once effect is granted again only from where it is known not to have happened (JOB3)", () => {
    const from = STATES.filter((state) => NEXT_TOOL[state].once.grant === "granted");
    expect(from).toEqual(["none", "failed"]);
  });
});

describe("grants", () => {
  test("the first one is attempt 1 and says what is called with what", () => {
    const { input, effectId, call, tool, inputDigest, timeoutMs } = GRANT;
    expect(applyGrant(undefined, GRANT, PLACE)).toEqual({
      kind: "changed",
      row: {
        state: "granted", effectId, call, tool, effect: "once", canReconcile: true, epoch: 3, attempt: 1, inputDigest,
        timeoutMs, seq: 9,
      },
      event: {
        type: "tool.granted", call, tool, effect: "once", canReconcile: true, effectId, attempt: 1, input, inputDigest,
        timeoutMs,
      },
    });
  });

  test("another one keeps the effect id and raises the attempt", () => {
    const again = applyGrant(rowIn("failed", "once"), GRANT, { seq: 12, epoch: 4 });
    expect(again).toMatchObject({ row: { attempt: 2, epoch: 4, seq: 12, effectId: GRANT.effectId } });
  });

  test("another input under the same name is refused", () => {
    const other = { ...GRANT, inputDigest: sha256("other") };
    expect(applyGrant(rowIn("failed", "once"), other, PLACE)).toMatchObject({ kind: "refused" });
  });

  test("a doubt counts the attempt that nobody knows of, and says what was called with what", () => {
    const { effectId, call, input, inputDigest } = GRANT;
    const first = applyDoubt(undefined, GRANT, PLACE);
    expect(first).toMatchObject({
      row: { state: "unknown", attempt: 1, epoch: 3, seq: 9 },
      event: { type: "tool.doubted", effectId, call, attempt: 1, input, inputDigest, effect: "once" },
    });
    expect(applyDoubt(rowIn("failed", "once"), GRANT, PLACE)).toMatchObject({ row: { attempt: 2 } });
    const other = { ...GRANT, inputDigest: sha256("other") };
    expect(applyDoubt(rowIn("failed", "once"), other, PLACE)).toMatchObject({ kind: "refused" });
  });

  test("code that calls a once effect a read by now does not make it repeatable", () => {
    const renamed: ToolGrant = { ...GRANT, effect: "read" };
    expect(applyGrant(rowIn("unknown", "once"), renamed, PLACE)).toMatchObject({ kind: "refused" });
  });
});

describe("outcomes", () => {
  test("a result has its name on the other side in row and event", () => {
    expect(applyOutcome(rowIn("granted", "once"), OUTCOMES.succeed, PLACE)).toMatchObject({
      row: { state: "succeeded", externalId: "ch-1" },
      event: { type: "tool.succeeded", result: 7, externalId: "ch-1" },
    });
  });

  test("what a once tool throws is no proof that nothing happened", () => {
    expect(applyOutcome(rowIn("granted", "once"), OUTCOMES.throw, PLACE)).toMatchObject({
      row: { state: "unknown", reason: "Error: refused" }, event: { type: "tool.unknown", reason: "Error: refused" },
    });
  });

  test("an outcome of an epoch that is over is refused", () => {
    expect(applyOutcome(rowIn("granted", "read"), OUTCOMES.succeed, { seq: 9, epoch: 4 })).toMatchObject({
      kind: "refused", reason: expect.stringContaining("epoch 3") as string,
    });
  });

  test("an answer after its time is a resolution by the tool itself", () => {
    expect(applyOutcome(rowIn("unknown", "once"), OUTCOMES.succeed, PLACE)).toMatchObject({
      row: { state: "succeeded", externalId: "ch-1" },
      event: { type: "tool.resolved", by: { kind: "late" }, resolution: { kind: "done", result: 7 } },
    });
    const useless = { kind: "succeeded", result: "7", problem: "no number" } as const;
    expect(applyOutcome(rowIn("unknown", "once"), useless, PLACE)).toMatchObject({ event: { problem: "no number" } });
  });

  test("a failure after its time is recorded with its error: the code was told of it, and is told so again", () => {
    for (const [effect, step] of [["once", "throw-not-done"], ["read", "throw"], ["idempotent", "throw"]] as const) {
      expect(applyOutcome(rowIn("unknown", effect), OUTCOMES[step], PLACE)).toMatchObject({
        row: { state: "failed" }, event: { type: "tool.failed", error: ERROR },
      });
    }
  });
});

describe("losses and resolutions", () => {
  test("a lost call keeps the epoch that it was granted in", () => {
    expect(applyLoss(rowIn("granted", "once"), "its node died", { seq: 9, epoch: 4 })).toMatchObject({
      row: { state: "unknown", epoch: 3, reason: "its node died" }, event: { type: "tool.unknown" },
    });
  });

  test("the log says who resolved a call and how", () => {
    const row = rowIn("unknown", "once");
    expect(applyPerson(row, { kind: "given-up", reason: "too late" }, "ann", PLACE)).toMatchObject({
      row: { state: "failed" },
      event: { by: { kind: "person", principal: "ann" }, resolution: { kind: "given-up", reason: "too late" } },
    });
    expect(applyReconcile(row, { kind: "done", result: 7 }, PLACE)).toMatchObject({
      row: { state: "succeeded" },
      event: { type: "tool.resolved", by: { kind: "reconcile" }, resolution: { kind: "done", result: 7 } },
    });
  });

  test("a job stays open while a call is granted or unknown", () => {
    expect(TOOL_STATES.filter((state) => isOpen({ state }))).toEqual(["granted", "unknown"]);
  });
});
