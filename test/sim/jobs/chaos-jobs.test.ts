// Drawn programs, clients and faults: nothing that jobs promise is broken, and every kind of event is met.
import { expect, test } from "vitest";
import { drawPlan, drawRestorePlan } from "./job-plan.ts";
import { JOB_SEEDS, RESTORE_SEEDS } from "./find-planted-job.ts";
import { E } from "./job-book.ts";
import { runJobs } from "./job-run.ts";

/** Kinds of events that every such set of runs has: all but those of restored and released jobs. */
const EVENTS_MET = Object.entries(E).filter(([name]) => name !== "released").map(([, number]) => number);
/** Claims beyond one for each job are take-overs and wakes. */
const CLAIMED = 2;
const CREATED = 1;

test(`seeds 1 to ${JOB_SEEDS}: what jobs promise holds, and each ends`, async () => {
  const met = new Map<number, number>();
  for (let seed = 1; seed <= JOB_SEEDS; seed += 1) {
    const { violation, events } = await runJobs(drawPlan(seed));
    expect(violation, `seed ${seed}: npm run sim:jobs -- --seed ${seed}`).toBeUndefined();
    for (const [type, count] of events) met.set(type, (met.get(type) ?? 0) + count);
  }
  console.log(`${JOB_SEEDS} runs of jobs: events by number ${JSON.stringify([...met].sort(([a], [b]) => a - b))}`);
  expect(EVENTS_MET.filter((type) => !met.has(type)), "kinds of events that no run had").toEqual([]);
  expect((met.get(CLAIMED) ?? 0) / (met.get(CREATED) ?? 1)).toBeGreaterThan(1.3);
});

test(`seeds 1 to ${RESTORE_SEEDS}, from a backup: no job goes on alone, nothing is done again (JOB13)`, async () => {
  for (let seed = 1; seed <= RESTORE_SEEDS; seed += 1) {
    const { violation } = await runJobs(drawRestorePlan(seed));
    expect(violation, `seed ${seed}: npm run sim:jobs -- --restore --seed ${seed}`).toBeUndefined();
  }
});

test("a run repeats from its seed", async () => {
  const [one, again] = [await runJobs(drawPlan(3)), await runJobs(drawPlan(3))];
  expect(again.traceHash).toBe(one.traceHash);
});
