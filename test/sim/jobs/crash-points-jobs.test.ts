// Every transaction of a job with every kind of call is a place to crash; every one of calls of tools of each effect is
// also one where the owner stands still, or no node hears another. A run without faults finds them.
import { expect, test } from "vitest";
import { E } from "./job-book.ts";
import type { JobFaultPlan, JobPlan } from "./job-plan.ts";
import { runJobs } from "./job-run.ts";
import type { Program } from "./player.ts";

const PROGRAM: Program = [
  { act: "step", label: "s1", isRead: false },
  { act: "step", label: "s2", isRead: true },
  { act: "tool", label: "t1", tool: "once", mode: "well" },
  {
    act: "all",
    branches: [
      [{ act: "tool", label: "t2", tool: "twice", mode: "throws" }, { act: "step", label: "s3", isRead: false }],
      [{ act: "tool", label: "t3", tool: "once", mode: "refuses" }],
    ],
  },
  { act: "wait", label: "w1", timeoutMs: undefined },
  { act: "tool", label: "t4", tool: "once", mode: "loses the answer" },
  { act: "sleep", label: "z1", ms: 5_100 },
  { act: "tool", label: "t5", tool: "look", mode: "well" },
];

/** What it does as its next run. */
const REST: Program = [
  { act: "model", label: "m1", isBusy: false },
  {
    act: "child", label: "c1", programs: [[{ act: "step", label: "s4", isRead: false }]], isDetached: false,
    timeoutMs: undefined, budget: undefined,
  },
  { act: "tool", label: "t6", tool: "asked", mode: "well" },
];

function planWith(faults: readonly JobFaultPlan[]): JobPlan {
  const signals = [{ atMs: 700, atWait: false, isTwice: true }];
  const job = { id: "all", budget: { usd: 0.9 }, programs: [PROGRAM, REST], startMs: 0, signals };
  return { seed: 1, jobs: [job], faults };
}

test("the owner, or all nodes, die before and after each transaction: what jobs promise holds", async () => {
  const calm = await runJobs(planWith([]));
  expect(calm.violation).toBeUndefined();
  expect(calm.moments).toBeGreaterThan(12);
  const broken: unknown[] = [];
  for (let moment = 1; moment <= calm.moments; moment += 1) {
    for (const at of ["before", "after"] as const) {
      // Each moment has its owner dying on one side and all nodes on the other.
      const fault = (moment % 2 === 0) === (at === "before") ? "crash" : "crash all";
      const { violation } = await runJobs(planWith([{ at, of: "all", moment, fault, forMs: 1_500 }]));
      if (violation !== undefined) broken.push({ at, moment, fault, ...violation });
    }
  }
  expect(broken).toEqual([]);
});

/** A call of each effect, what comes after them, and how jobs begin and end. */
const CALLS: Program = [
  { act: "tool", label: "t1", tool: "look", mode: "well" },
  { act: "tool", label: "t2", tool: "twice", mode: "well" },
  { act: "tool", label: "t3", tool: "once", mode: "well" },
  { act: "step", label: "s1", isRead: false },
];
/** Long enough for others to take over from the one, and not from all. */
const AWAY = [["pause", 4_500], ["cut all", 1_500]] as const;

test("the owner stands still, or all nodes are cut off, before and after each transaction of calls", async () => {
  const planOf = (...faults: readonly JobFaultPlan[]): JobPlan =>
    ({ seed: 2, jobs: [{ id: "calls", programs: [CALLS], startMs: 0, signals: [] }], faults });
  const { moments, violation: calm } = await runJobs(planOf());
  expect(calm).toBeUndefined();
  expect(moments).toBeGreaterThan(5);
  const broken: unknown[] = [];
  let takenOver = 0;
  for (let moment = 1; moment <= moments; moment += 1) {
    for (const at of ["before", "after"] as const) {
      for (const [fault, forMs] of AWAY) {
        const { violation, events } = await runJobs(planOf({ at, of: "all", moment, fault, forMs }));
        if ((events.get(E.claimed) ?? 0) > 1) takenOver += 1;
        if (violation !== undefined) broken.push({ at, moment, fault, ...violation });
      }
    }
  }
  expect(broken).toEqual([]);
  console.log(`${moments} transactions, each with 4 faults: others took over in ${takenOver} runs`);
  expect(takenOver).toBeGreaterThan(moments);
});
