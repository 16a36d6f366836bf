import { describe, expect, test } from "vitest";
import { nextScheduleStep } from "../../../../src/cluster/schedules/core/schedule-step.ts";
import type { ScheduleRow } from "../../../../src/slices/core/schedule-row.ts";

const wanted = { name: "tick", cron: "* * * * *", method: "run", timeZone: "UTC" };
/** A tick every hundred. */
const times = {
  next: (afterMs: number) => Math.floor(afterMs / 100) * 100 + 100,
  latest: (untilMs: number) => Math.floor(untilMs / 100) * 100,
};

function row(state: ScheduleRow["state"], tickMs: number, more: Partial<ScheduleRow> = {}): ScheduleRow {
  return { cron: wanted.cron, method: wanted.method, timeZone: wanted.timeZone, state, tickMs, ...more };
}

function stepAt(nowMs: number, found: ScheduleRow | undefined) {
  const isOther = found !== undefined && found.method !== wanted.method;
  return nextScheduleStep(wanted, found, { isOther, times, nowMs });
}

describe("what the leader does about a schedule", () => {
  test("a new one begins now; a changed one too, but never before its last tick (T1)", () => {
    expect(stepAt(750, undefined)).toEqual({ kind: "begin", sinceMs: 750 });
    expect(stepAt(750, row("done", 300, { cron: "0 * * * *" }))).toEqual({ kind: "begin", sinceMs: 750 });
    expect(stepAt(750, row("sent", 900, { method: "other" }))).toEqual({ kind: "begin", sinceMs: 900 });
    expect(stepAt(750, row("waiting", 300, { timeZone: "Asia/Tokyo" }))).toEqual({ kind: "begin", sinceMs: 750 });
  });

  test("what was sent is sent again, whatever time it is (T3)", () => {
    for (const nowMs of [0, 300, 5_000]) {
      expect(stepAt(nowMs, row("sent", 300))).toEqual({ kind: "resend", tickMs: 300 });
    }
  });

  test.each(["waiting", "sent", "done", "failed", "skipped"] as const)(
    "one that was %s in a backup begins now, and makes up for nothing (T4)", (state) => {
      expect(stepAt(1_250, row(state, 300, { isRestored: true }))).toEqual({ kind: "begin", sinceMs: 1_250 });
    },
  );

  const ended = ["waiting", "done", "failed", "skipped"] as const;

  test.each(ended)("after %s the latest tick is fired (T1, T2)", (state) => {
    expect(stepAt(399, row(state, 300))).toEqual({ kind: "wait" });
    expect(stepAt(400, row(state, 300))).toEqual({ kind: "fire", tickMs: 400 });
    expect(stepAt(1_250, row(state, 300))).toEqual({ kind: "fire", tickMs: 1_200 });
    // The clock went back, or the last leader's was ahead.
    expect(stepAt(250, row(state, 300))).toEqual({ kind: "wait" });
  });

  test("one that has no next tick waits", () => {
    const never = { next: () => undefined, latest: () => undefined };
    expect(nextScheduleStep(wanted, row("done", 300), { isOther: false, times: never, nowMs: 900 }))
      .toEqual({ kind: "wait" });
  });
});
