import { describe, expect, test } from "vitest";
import { MiB } from "../../../src/base/units.ts";
import { besideHeapBytesMax, MemoryRule, type MemoryReport } from "../../../src/slices/core/memory-rule.ts";
import { MemoryGuard, type GuardedWorker } from "../../../src/slices/host/memory-guard.ts";
import { ManualClock } from "../../support/manual-clock.ts";

class FakeWorker implements GuardedWorker {
  readonly heapBytesMax = 128 * MiB;
  turnsHeard = 0;
  reportedBytes = 0;
  asked = 0;
  ended: string | undefined;
  private readonly isAnswering: boolean;

  constructor(isAnswering: boolean) {
    this.isAnswering = isAnswering;
  }

  ask(): void {
    this.asked += 1;
    if (this.isAnswering) this.turnsHeard += 1;
  }

  recycle(reason: string): void {
    this.ended = reason;
  }
}

interface Growth {
  /** Of the process, in MiB per second. */
  processMiB: number;
  /** What the calm worker says of it. */
  reportedMiB: number;
}

function openGuard(growth: Growth) {
  const clock = new ManualClock();
  const busy = new FakeWorker(false);
  const calm = new FakeWorker(true);
  let bytes = 500 * MiB;
  let lastMs = clock.nowMs();
  const guard = new MemoryGuard({ clock }, {
    processBytes: () => {
      const seconds = (clock.nowMs() - lastMs) / 1_000;
      lastMs = clock.nowMs();
      bytes += growth.processMiB * MiB * seconds;
      calm.reportedBytes += growth.reportedMiB * MiB * seconds;
      return bytes;
    },
    workers: () => [calm, busy].filter(({ ended }) => ended === undefined),
  });
  guard.start();
  return { clock, guard, busy, calm, grownBytes: () => bytes - 500 * MiB };
}

describe("the guard of a node's memory", () => {
  test("a worker that says nothing while the process grows is ended in time, and only that one", async () => {
    const { clock, busy, calm, grownBytes } = openGuard({ processMiB: 1_024, reportedMiB: 0 });
    await clock.advanceUntil(() => busy.ended !== undefined, 2_000);
    expect(busy.ended).toMatch(/grew by \d+ MiB.*loop that fills its heap or buffers/);
    expect(calm.ended).toBeUndefined();
    expect(grownBytes()).toBeLessThan(1_024 * MiB);
  });

  test("while nothing grows it asks for a report each second, and ends nobody however long one is busy", async () => {
    const { clock, busy, calm } = openGuard({ processMiB: 10, reportedMiB: 0 });
    await clock.advance(60_000);
    expect([busy.asked, calm.asked, busy.ended]).toEqual([60, 60, undefined]);
  });

  test("growth that the heap of a busy worker may take ends nobody", async () => {
    const growth = { processMiB: 350, reportedMiB: 0 };
    const { clock, busy } = openGuard(growth);
    await clock.advance(1_000);
    growth.processMiB = 0;
    await clock.advance(10_000);
    expect(busy.ended).toBeUndefined();
  });

  test("growth that another worker reports as its own ends nobody", async () => {
    const { clock, busy, calm } = openGuard({ processMiB: 1_024, reportedMiB: 1_024 });
    await clock.advance(10_000);
    expect([busy.ended, calm.ended]).toEqual([undefined, undefined]);
  });

  test("a guard that was stopped looks no more", async () => {
    const { clock, guard, busy } = openGuard({ processMiB: 1_024, reportedMiB: 0 });
    guard.stop();
    await clock.advance(10_000);
    expect(busy.asked).toBe(0);
  });
});

describe("what a worker reports of its memory", () => {
  const used = (heapMiB: number, bufferMiB: number, more: Partial<MemoryReport> = {}): MemoryReport => ({
    heapUsedBytes: heapMiB * MiB,
    heapTotalBytes: heapMiB * MiB,
    externalBytes: bufferMiB * MiB,
    isCollected: true,
    ...more,
  });

  test("up to its limits it is fine; above them it is reported again without garbage, at most once a second", () => {
    const rule = new MemoryRule(128 * MiB);
    expect(rule.judge(used(128, 128, { isCollected: false }), 0).kind).toBe("fine");
    expect(rule.judge(used(500, 0, { isCollected: false }), 0).kind).toBe("collect");
    expect(rule.judge(used(0, 500, { isCollected: false }), 999).kind).toBe("fine");
    expect(rule.judge(used(0, 500, { isCollected: false }), 1_000).kind).toBe("collect");
  });

  test("above a limit it is warned, and ended at the second report in a row", () => {
    const rule = new MemoryRule(128 * MiB);
    expect([rule.judge(used(129, 0), 0).kind, rule.judge(used(129, 0), 0).kind]).toEqual(["warn", "end"]);
  });

  test("a peak that passes costs nothing", () => {
    const rule = new MemoryRule(128 * MiB);
    for (let round = 0; round < 10; round += 1) {
      expect([rule.judge(used(129, 0), 0).kind, rule.judge(used(128, 0), 0).kind]).toEqual(["warn", "fine"]);
    }
  });

  test.each([
    ["heap", used(300, 200), /uses 300 MiB of heap, where 128 MiB are allowed.*raise heapBytesMax/],
    ["buffers", used(10, 200), /uses 200 MiB of buffers beside its heap, where 128 MiB are allowed/],
  ])("far above its limit of %s nothing is waited for, and the reason says what to do", (_what, report, reason) => {
    expect(new MemoryRule(128 * MiB).judge(report, 0)).toEqual({ kind: "end", reason: expect.stringMatching(reason) });
  });

  test("a small heap leaves 64 MiB beside it", () => {
    expect(besideHeapBytesMax(16 * MiB)).toBe(64 * MiB);
  });
});
