// Schedules under changing leaders: each tick at most once, whenever a leader dies and whatever its clock says.
import { afterEach, beforeEach, expect, test } from "vitest";
import { formatKey } from "../../src/kvstore/core/key.ts";
import { ScheduleWorld } from "../support/schedule-world.ts";

const MINUTE_MS = 60_000;
const CURRENT = formatKey({ kind: "blueprint-current", name: "shop" });
const HOUR_MS = 60 * MINUTE_MS;
let world: ScheduleWorld;

beforeEach(async () => {
  world = await ScheduleWorld.open();
  await world.apply({ name: "tick", cron: "* * * * *", method: "place", timeZone: "UTC" });
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

/** Ticks whose method has run, in minutes since the world began. */
function ticks(): readonly number[] {
  return world.ticks().map((ms) => Math.floor((ms - world.beginMs) / MINUTE_MS));
}

test("the method runs once for each tick, and the row says how the last one ended", async () => {
  await world.lead("n1");
  await world.pass(5 * MINUTE_MS);
  expect(ticks()).toEqual([0, 1, 2, 3, 4].map((first) => first + (ticks()[0] ?? 0)));
  expect(await world.row()).toMatchObject({ state: "done", method: "place", endedMs: expect.any(Number) as number });
});

test.each(["before", "after"] as const)("a leader that dies %s any of its writes (T1, T3)", async (moment) => {
  let isReached = true;
  let points = 0;
  for (let at = 1; isReached; at++) {
    await world.restart();
    const leader = await world.lead("n1");
    leader.diesAt = at;
    leader.diesWhen = moment;
    await world.pass(3 * MINUTE_MS);
    isReached = !leader.isAlive;
    points += isReached ? 1 : 0;
    await world.lead("n2");
    await world.pass(3 * MINUTE_MS);
    const found = ticks();
    expect(new Set(found).size, `write ${at}`).toBe(found.length);
    // The second leader leaves none out, and makes up for one at most.
    expect(found.length).toBeGreaterThanOrEqual(3);
    expect(found).toEqual([...found].sort((a, b) => a - b));
    const [, last = 0] = found.slice(-2);
    expect(found.slice(-3)).toEqual([last - 2, last - 1, last]);
    expect(await world.row()).toMatchObject({ state: "done" });
  }
  // Begin, and two writes for each of three ticks.
  expect(points).toBeGreaterThanOrEqual(6);
});

test("leaders whose clocks are an hour off run no tick twice (T1)", async () => {
  await world.lead("n1", HOUR_MS);
  await world.pass(3 * MINUTE_MS);
  const ahead = ticks().length;
  expect(ahead).toBeGreaterThanOrEqual(2);
  await world.lead("n2");
  await world.pass(10 * MINUTE_MS);
  expect(ticks()).toHaveLength(ahead);
  await world.lead("n3", -HOUR_MS);
  await world.pass(10 * MINUTE_MS);
  expect(ticks()).toHaveLength(ahead);
  await world.lead("n1", HOUR_MS);
  await world.pass(3 * MINUTE_MS);
  const found = ticks();
  expect(found.length).toBeGreaterThan(ahead);
  expect(new Set(found).size).toBe(found.length);
});

test("two that both believe they lead run no tick twice", async () => {
  await world.lead("n1");
  const second = await world.lead("n2");
  second.hasUsurped = true;
  await world.pass(5 * MINUTE_MS);
  const found = ticks();
  expect(new Set(found).size).toBe(found.length);
  expect(found.length).toBeGreaterThanOrEqual(4);
});

test("of the ticks that nobody could run only the latest is made up for (T2)", async () => {
  await world.lead("n1");
  await world.pass(2 * MINUTE_MS);
  const before = ticks().length;
  world.resign();
  await world.pass(30 * MINUTE_MS);
  await world.lead("n2");
  await world.pass(2_500);
  expect(ticks()).toHaveLength(before + 1);
  await world.pass(2 * MINUTE_MS);
  expect(ticks()).toHaveLength(before + 3);
});

test("a handler that fails fails its tick, and the next one runs", async () => {
  world.answer = "throws";
  await world.lead("n1");
  await world.pass(MINUTE_MS + 5_000);
  expect(await world.row()).toMatchObject({ state: "failed", error: { code: "E_HANDLER" } });
  world.answer = "ok";
  await world.pass(MINUTE_MS);
  expect(await world.row()).toMatchObject({ state: "done" });
});

test("a call that never starts is made again until it does", async () => {
  world.answer = "refuses";
  await world.lead("n1");
  await world.pass(MINUTE_MS + 5_000);
  expect(await world.row()).toMatchObject({ state: "sent" });
  world.answer = "ok";
  await world.pass(10_000);
  expect(await world.row()).toMatchObject({ state: "done" });
  expect(new Set(ticks()).size).toBe(ticks().length);
});

test("a tick that has not started is not sent any more once its schedule is removed", async () => {
  world.answer = "refuses";
  await world.lead("n1");
  await world.pass(MINUTE_MS + 5_000);
  expect(await world.row()).toMatchObject({ state: "sent" });
  await world.apply();
  world.answer = "ok";
  await world.pass(15 * MINUTE_MS);
  expect(ticks()).toEqual([]);
  expect(await world.row()).toBeUndefined();
});

test("how a tick has ended is written although the blueprint changed meanwhile, and it runs once", async () => {
  world.answer = "throws";
  await world.lead("n1");
  const current = { kind: "put", key: CURRENT, value: { revision: 1 } } as const;
  world.meanwhile = () => world.kv.transact({ compare: [], then: [current], else: [] });
  await world.pass(MINUTE_MS + 5_000);
  expect(await world.row()).toMatchObject({ state: "failed", error: { code: "E_HANDLER" } });
  expect(ticks()).toHaveLength(1);
});

test("a tick that has not started holds up no other schedule that takes its place", async () => {
  world.answer = "refuses";
  await world.lead("n1");
  await world.pass(MINUTE_MS + 5_000);
  await world.apply({ name: "tick", cron: "*/2 * * * *", method: "place", timeZone: "UTC" });
  await world.pass(10_000);
  expect(await world.row()).toMatchObject({ state: "waiting", cron: "*/2 * * * *" });
});

test("a tick that has not started is sent further when the blueprint changes elsewhere", async () => {
  world.answer = "refuses";
  await world.lead("n1");
  await world.pass(MINUTE_MS + 5_000);
  await world.applyVersion("1.0.0");
  world.answer = "ok";
  await world.pass(10_000);
  expect(ticks()).toHaveLength(1);
  expect(await world.row()).toMatchObject({ state: "done" });
});

test("a changed schedule makes up for nothing; a removed one leaves nothing", async () => {
  await world.lead("n1");
  await world.pass(2 * MINUTE_MS);
  const before = ticks().length;
  world.resign();
  await world.pass(10 * MINUTE_MS);
  await world.apply({ name: "tick", cron: "*/30 * * * *", method: "place", timeZone: "UTC" });
  await world.lead("n1");
  await world.pass(5_000);
  expect(ticks()).toHaveLength(before);
  expect(await world.row()).toMatchObject({ state: "waiting", cron: "*/30 * * * *" });
  await world.apply();
  await world.pass(5_000);
  expect(await world.row()).toBeUndefined();
});

test("a new version's schedule holds from when the version serves, and the one before until then", async () => {
  const tick = { name: "tick", cron: "* * * * *", timeZone: "UTC" } as const;
  await world.lead("n1");
  await world.serve("n8");
  await world.pass(2 * MINUTE_MS);
  expect(await world.row()).toMatchObject({ method: "place" });
  await world.applyVersion("1.1.0", { ...tick, method: "place2" });
  await world.pass(2 * MINUTE_MS);
  expect(await world.row()).toMatchObject({ method: "place", state: "done" });
  const before = ticks().length;
  await world.serve("n7");
  await world.pass(2 * MINUTE_MS);
  expect(await world.row()).toMatchObject({ method: "place2", state: "done" });
  expect(ticks().length).toBeGreaterThan(before);
  // Back to the first: its schedule is as it was.
  await world.apply({ ...tick, method: "place" });
  await world.pass(2 * MINUTE_MS);
  expect(await world.row()).toMatchObject({ method: "place2" });
  await world.serve("n8");
  await world.pass(2 * MINUTE_MS);
  expect(await world.row()).toMatchObject({ method: "place" });
  expect(new Set(ticks()).size).toBe(ticks().length);
});
