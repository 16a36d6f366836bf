import { describe, expect, test } from "vitest";
import {
  APPLY_STALL_MS, ApplyProgress, type ApplyState, RUNNABLE_STALL_MS, type Stall, stallsOf, UNKNOWN_STALL_MS,
} from "../../../src/metrics/core/progress-watch.ts";
import { MetricsStore } from "../../../src/metrics/metrics-store.ts";
import type { Facts } from "../../../src/metrics/core/facts.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const IDLE: ApplyState = { applied: 10, decided: 10, pendingCommands: 0, isCatchingUp: false };

describe("applying stands still", () => {
  test.each([
    ["slots are decided", { decided: 11 }],
    ["commands wait for an answer", { pendingCommands: 1 }],
  ])("while %s and none is applied", (_what, work) => {
    const progress = new ApplyProgress();
    expect(progress.note(IDLE, 1_000)).toBe(0);
    expect(progress.note(IDLE, 60_000)).toBe(0);
    progress.note({ ...IDLE, ...work }, 61_000);
    expect(progress.note({ ...IDLE, ...work }, 75_000)).toBe(15_000);
    expect(progress.note({ ...IDLE, ...work, applied: 10.5 }, 76_000)).toBe(0);
  });

  test("not while the node fetches what it misses", () => {
    const progress = new ApplyProgress();
    progress.note({ ...IDLE, decided: 1_000, isCatchingUp: true }, 1_000);
    expect(progress.note({ ...IDLE, decided: 1_000, isCatchingUp: true }, 100_000)).toBe(0);
  });
});

test("what stands still is named with how long, and what does not is not", () => {
  expect(stallsOf({})).toEqual([]);
  expect(stallsOf({
    applyStalledMs: APPLY_STALL_MS - 1, oldestRunnableMs: RUNNABLE_STALL_MS - 1, oldestUnknownMs: UNKNOWN_STALL_MS - 1,
  })).toEqual([]);
  const all = { applyStalledMs: 12_000, unappliedSlots: 3, oldestRunnableMs: 400_000, oldestUnknownMs: 700_000 };
  expect(stallsOf(all).map(({ kind, forMs }) => [kind, forMs])).toEqual(
    [["apply", 12_000], ["runnable-job", 400_000], ["unknown-effect", 700_000]],
  );
});

test("each stall is told once when it begins and once when it ends", () => {
  const store = new MetricsStore(new ManualClock());
  const told: string[] = [];
  store.onStall(({ kind }: Stall, change) => told.push(`${kind} ${change}`));
  const report = (facts: Facts): void =>
    store.noteOwn({ seq: 0, intervalMs: 1_000, facts, methods: [], instances: [], left: 0 });
  report({});
  report({ applyStalledMs: 11_000 });
  report({ applyStalledMs: 12_000, oldestRunnableMs: 600_000 });
  expect(store.stalls().map(({ kind }) => kind)).toEqual(["apply", "runnable-job"]);
  report({ oldestRunnableMs: 700_000 });
  report({});
  expect(told).toEqual(["apply began", "runnable-job began", "apply ended", "runnable-job ended"]);
});
