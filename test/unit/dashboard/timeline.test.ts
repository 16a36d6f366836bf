import { describe, expect, test } from "vitest";
import type { JobEventAnswer } from "../../../src/dashboard/answers.ts";
import { barOf, scaleEnd, timelineOf } from "../../../src/dashboard/core/timeline.ts";

type Found = readonly [atMs: number, type: string, data?: object];

function events(...found: readonly Found[]): readonly JobEventAnswer[] {
  const origin = { run: 1, epoch: 1 };
  return found.map(([atMs, type, data = {}], at) => ({ ...origin, seq: at + 1, type, atMs, data: { ...data } }));
}

function linesOf(...found: readonly Found[]): readonly unknown[] {
  return timelineOf(events(...found)).map(({ title, note, tone, fromMs, toMs }) => [title, note, tone, fromMs, toMs]);
}

const CALL = { call: "refund#1", effectId: "e1" };

describe("the timeline of a job", () => {
  test("shows a step from what was written before it", () => {
    expect(linesOf([0, "job.created", { agent: "a" }], [5, "job.claimed", { node: "n1" }],
      [9, "step.completed", { call: "price#1", value: 3 }])).toEqual([
      ["Started", "a", "idle", 0, 0],
      ["Runs on n1", "", "busy", 5, 5],
      ["Step price#1", "3", "good", 5, 9],
    ]);
  });

  test("shows a call of a tool as one line from its grant to its outcome", () => {
    expect(linesOf([1, "tool.granted", { ...CALL, effect: "once", attempt: 1 }],
      [7, "tool.succeeded", { ...CALL, result: "ok" }])).toEqual([["Tool refund#1", '"ok"', "good", 1, 7]]);
  });

  test("leaves a call open whose outcome is unknown, until somebody says what became of it", () => {
    const doubtful = [[1, "tool.granted", { ...CALL, effect: "once", attempt: 1 }],
      [4, "tool.unknown", { ...CALL, reason: "no answer" }]] as const;
    expect(linesOf(...doubtful)).toEqual([["Tool refund#1", "outcome unknown: no answer", "doubt", 1, undefined]]);
    const by = { kind: "person", principal: "ann" };
    expect(linesOf(...doubtful, [9, "tool.resolved", { ...CALL, by, resolution: { kind: "not-done" } }])).toEqual([
      ["Tool refund#1", "it had not been done, says ann", "idle", 1, 9],
    ]);
  });

  test("shows another attempt as a line of its own", () => {
    const titles = timelineOf(events([1, "tool.granted", { ...CALL, attempt: 1 }],
      [2, "tool.failed", { ...CALL, error: { code: "E_HANDLER", message: "no" } }],
      [3, "tool.granted", { ...CALL, attempt: 2 }])).map(({ note, toMs }) => [note, toMs]);
    expect(titles).toEqual([["E_HANDLER: no", 2], [", attempt 2", undefined]]);
  });

  test("says nothing of a value that there is not, and where a large one is", () => {
    expect(linesOf([1, "step.completed", { call: "a#1" }], [2, "step.completed", { call: "b#1", blob: {} }]))
      .toEqual([["Step a#1", "", "good", 1, 1], ["Step b#1", "stored apart", "good", 1, 2]]);
  });

  test("ends the timer of a wait whose signal, decision or child has come in time", () => {
    const decided = { call: "b#1", approved: true, principal: "ann" };
    expect(linesOf(
      [1, "timer.set", { call: "a#1", dueMs: 90 }], [2, "signal.received", { call: "a#1", signal: "go", payload: 1 }],
      [3, "approval.requested", { call: "b#1", summary: "pay" }], [3, "timer.set", { call: "b#1", dueMs: 90 }],
      [4, "approval.decided", decided], [5, "timer.set", { call: "c#1", dueMs: 90 }],
    )).toEqual([
      ["Timer a#1", "not needed any more", "idle", 1, 2],
      ["Signal go", "1", "good", 2, 2],
      ["Approval b#1", "given by ann", "good", 3, 4],
      ["Timer b#1", "not needed any more", "idle", 3, 4],
      ["Timer c#1", "for 85 ms", "idle", 5, undefined],
    ]);
  });

  test("ends a wait when the job is claimed again", () => {
    expect(linesOf([1, "job.waiting", { reason: "signal", on: [] }], [6, "job.claimed", { node: "n2" }])).toEqual([
      ["Waits: signal", "", "warn", 1, 6],
      ["Runs on n2", "", "busy", 6, 6],
    ]);
  });

  test("shows an event that this page does not know as what it is", () => {
    expect(linesOf([1, "planet.aligned", { with: "mars" }])).toEqual([
      ["planet.aligned", '{"with":"mars"}', "idle", 1, 1],
    ]);
  });

  test("stands for a damaged event too: what is missing is left out", () => {
    expect(() => timelineOf(events([1, "tool.succeeded"], [2, "approval.decided"], [3, ""]))).not.toThrow();
  });

  test("has a scale that ends behind what there is, and stays while a job goes on for a twentieth longer", () => {
    for (const lengthMs of [0, 1, 999, 61_234, 90_000_000]) {
      const end = scaleEnd(5_000, 5_000 + lengthMs);
      expect(end).toBeGreaterThanOrEqual(5_000 + lengthMs);
      expect(end - 5_000).toBeLessThanOrEqual(Math.max(1, lengthMs) * 1.051);
      expect(scaleEnd(5_000, end - 0.001)).toBeCloseTo(end, 3);
    }
  });

  test("draws each line within the whole", () => {
    const [line] = timelineOf(events([50, "tool.granted", CALL], [75, "tool.succeeded", CALL]));
    expect(line && barOf(line, { fromMs: 0, nowMs: 90, endMs: 100 })).toEqual({ left: 50, width: 25 });
    expect(line && barOf(line, { fromMs: 60, nowMs: 60, endMs: 60 })).toEqual({ left: 0, width: 100 });
  });
});
