// Schedules that start jobs, under changing leaders: one job for each tick at most, and one at a time where the
// schedule says so, whenever a leader dies, or goes on when nobody expects it any more.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ResolvedAgentSchedule } from "../../src/slices/core/schedule-row.ts";
import { ScheduleWorld } from "../support/schedule-world.ts";

const MINUTE_MS = 60_000;
const SKIPPING: ResolvedAgentSchedule = {
  agent: "audit", name: "tick", cron: "* * * * *", timeZone: "UTC", input: { all: true }, overlap: "skip",
};
const ALLOWING: ResolvedAgentSchedule = { ...SKIPPING, overlap: "allow" };
let world: ScheduleWorld;

beforeEach(async () => {
  world = await ScheduleWorld.open();
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

/** Ticks that have started a job, in minutes since the world began. */
async function ticks(): Promise<readonly number[]> {
  return (await world.jobs()).map(({ tickMs }) => Math.floor((tickMs - world.beginMs) / MINUTE_MS));
}

async function endAll(): Promise<void> {
  for (const { job, isAlive } of await world.jobs()) if (isAlive) await world.endJob(job);
}

/** At no time two of them, and each tick once. */
async function expectOneAtATime(label: string): Promise<void> {
  const jobs = await world.jobs();
  expect(jobs.filter(({ isAlive }) => isAlive).length, label).toBeLessThanOrEqual(1);
  expect(new Set(jobs.map(({ tickMs }) => tickMs)).size, label).toBe(jobs.length);
}

describe("without faults", () => {
  test("each tick starts a job, and the row names the last one", async () => {
    await world.applyAgents(ALLOWING);
    await world.lead("n1");
    await world.pass(5 * MINUTE_MS);
    const [first = 0] = await ticks();
    expect(await ticks()).toEqual([0, 1, 2, 3, 4].map((at) => first + at));
    const last = (await world.jobs()).at(-1);
    expect(await world.agentRow()).toMatchObject({ state: "done", job: last?.job });
  });

  test("a tick is skipped while the job before it lives, and the next one after its end is not", async () => {
    await world.applyAgents(SKIPPING);
    await world.lead("n1");
    await world.pass(3 * MINUTE_MS);
    const [only, ...others] = await world.jobs();
    expect(others).toEqual([]);
    expect(await world.agentRow()).toMatchObject({ state: "skipped", job: only?.job });
    await endAll();
    await world.pass(MINUTE_MS);
    expect(await world.jobs()).toHaveLength(2);
    expect(await world.agentRow()).toMatchObject({ state: "done" });
  });

  test("of the ticks that nobody could run only the latest starts a job", async () => {
    await world.applyAgents(ALLOWING);
    await world.lead("n1");
    await world.pass(2 * MINUTE_MS);
    world.resign();
    await world.pass(30 * MINUTE_MS);
    await world.lead("n2");
    await world.pass(2_500);
    expect(await world.jobs()).toHaveLength(3);
  });

  test("a changed input is that of the next job, and a schedule that is gone leaves no row", async () => {
    await world.applyAgents(ALLOWING);
    await world.lead("n1");
    await world.pass(2 * MINUTE_MS);
    await world.applyAgents({ ...ALLOWING, input: { all: false } });
    await world.pass(MINUTE_MS);
    expect(await world.jobs()).toHaveLength(3);
    await world.applyAgents();
    await world.pass(5_000);
    expect(await world.agentRow()).toBeUndefined();
  });
});

describe.each([SKIPPING, ALLOWING])("with overlap $overlap", (schedule) => {
  test.each(["before", "after"] as const)("a leader that dies %s any of its questions", async (moment) => {
    await world.applyAgents(schedule);
    let points = 0;
    for (let at = 1, isReached = true; isReached; at++) {
      await world.restart();
      const leader = await world.lead("n1");
      Object.assign(leader, { diesAt: at, diesWhen: moment });
      await world.pass(2 * MINUTE_MS);
      isReached = !leader.isAlive;
      points += isReached ? 1 : 0;
      await world.lead("n2");
      await world.pass(MINUTE_MS);
      if (schedule.overlap === "skip") await expectOneAtATime(`question ${at}`);
      await endAll();
      await world.pass(2 * MINUTE_MS);
      const found = await ticks();
      expect(new Set(found).size, `question ${at}`).toBe(found.length);
      expect(found.length, `question ${at}`).toBeGreaterThanOrEqual(schedule.overlap === "skip" ? 2 : 3);
      expect(await world.agentRow()).toMatchObject({ state: schedule.overlap === "skip" ? "skipped" : "done" });
    }
    // Begin, and for each tick that it comes, the start, and how that ended.
    expect(points).toBeGreaterThanOrEqual(5);
  });
});

test.each(["decided", "removed the schedule"])(
  "a leader that was stopped before any of its questions starts nothing once another one has %s", async (what) => {
    let late = 0;
    for (let at = 1, isReached = true; isReached; at++) {
      await world.applyAgents(SKIPPING);
      await world.restart();
      const leader = await world.lead("n1");
      Object.assign(leader, { diesAt: at, diesWhen: "late" });
      await world.pass(MINUTE_MS);
      await endAll();
      await world.pass(MINUTE_MS);
      isReached = !leader.isAlive;
      late += isReached ? 1 : 0;
      if (what !== "decided") await world.applyAgents();
      await world.lead("n2");
      await world.pass(3 * MINUTE_MS);
      const before = await world.jobs();
      const row = await world.agentRow();
      await leader.wake();
      await world.pass(5_000);
      expect(await world.jobs(), `question ${at}`).toEqual(before);
      expect(await world.agentRow()).toEqual(row);
      await expectOneAtATime(`question ${at}`);
    }
    expect(late).toBeGreaterThanOrEqual(5);
  },
);

test.each(["before", "after", "late"] as const)(
  "one that is changed as its leader dies %s any of its questions skips beside the job it had", async (moment) => {
    await world.applyAgents(SKIPPING);
    for (let at = 1, isReached = true; isReached; at++) {
      await world.restart();
      await world.applyAgents(SKIPPING);
      const leader = await world.lead("n1");
      Object.assign(leader, { diesAt: at, diesWhen: moment });
      await world.pass(2 * MINUTE_MS);
      isReached = !leader.isAlive;
      await world.applyAgents({ ...SKIPPING, cron: "*/2 * * * *" });
      await world.lead("n2");
      await world.pass(10_000);
      await leader.wake();
      await world.pass(4 * MINUTE_MS);
      await expectOneAtATime(`question ${at}`);
      expect(await world.agentRow(), `question ${at}`).toMatchObject({ state: "skipped", cron: "*/2 * * * *" });
    }
  },
);
