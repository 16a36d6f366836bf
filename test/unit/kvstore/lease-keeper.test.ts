import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HOUR_MS, SECOND_MS } from "../../../src/base/units.ts";
import type { LeaseId } from "../../../src/kvstore/core/schema.ts";
import { LeaseWorld } from "../../support/lease-world.ts";

const TTL_MS = 10 * SECOND_MS;
/** What asking, proposing and the patience of later voters may take. */
const SLACK_MS = 6 * SECOND_MS;

let world: LeaseWorld;
let lease: LeaseId;
let sinceMs: number;

beforeEach(async () => {
  world = await LeaseWorld.open();
  lease = await world.grant(TTL_MS);
  sinceMs = world.clock.nowMs();
});

afterEach(() => world.close());

async function lifeMs(): Promise<number> {
  await world.clock.advanceUntil(() => world.endedAtMs.has(lease), 10 * TTL_MS);
  return (world.endedAtMs.get(lease) ?? 0) - sinceMs;
}

async function renewFor(durationMs: number): Promise<void> {
  for (let passedMs = 0; passedMs < durationMs; passedMs += TTL_MS / 2) {
    await world.clock.advance(TTL_MS / 2);
    await world.renew(lease);
  }
  sinceMs = world.clock.nowMs();
}

describe("a lease that nobody renews", () => {
  test("ends after its time, and not before", async () => {
    const took = await lifeMs();
    expect(took).toBeGreaterThanOrEqual(TTL_MS);
    expect(took).toBeLessThan(TTL_MS + SLACK_MS);
  });

  test("ends too when the first voter is gone", async () => {
    world.pause("n1");
    expect(await lifeMs()).toBeLessThan(TTL_MS + SLACK_MS);
  });

  test("ends too when the clock of the first voter stands almost still", async () => {
    world.setRate("n1", 0.001);
    expect(await lifeMs()).toBeLessThan(TTL_MS + SLACK_MS);
  });

  test("ends too when one node starts again and again", async () => {
    for (let round = 0; round < 8; round++) {
      await world.clock.advance(TTL_MS / 4);
      await world.restart("n1");
    }
    expect(world.endedAtMs.has(lease)).toBe(true);
  });

  test("ends too when a majority could not read its disk for a moment when it started", async () => {
    for (const name of ["n1", "n2"]) world.failDisk(name);
    for (const name of ["n1", "n2"]) await world.restart(name);
    await world.clock.advance(TTL_MS / 2);
    for (const name of ["n1", "n2"]) world.mendDisk(name);
    expect(await lifeMs()).toBeLessThan(3 * TTL_MS + SLACK_MS);
  });

  test("does not end without a quorum, and ends once there is one", async () => {
    world.pause("n2");
    world.pause("n3");
    await world.clock.advance(3 * TTL_MS);
    expect(world.has(lease)).toBe(true);
    world.resume("n2");
    expect(await lifeMs()).toBeLessThan(3 * TTL_MS + SLACK_MS);
  });

  test("does not end while its voters do not hear each other", async () => {
    for (const name of ["n1", "n2", "n3"]) world.cut(name);
    await world.clock.advance(3 * TTL_MS);
    expect(world.has(lease)).toBe(true);
    world.mend("n3");
    expect(await lifeMs()).toBeLessThan(3 * TTL_MS + SLACK_MS);
  });
});

describe("no lease ends early", () => {
  test("while it is renewed", async () => {
    await renewFor(6 * TTL_MS);
    expect(world.has(lease)).toBe(true);
    expect(await lifeMs()).toBeGreaterThanOrEqual(TTL_MS);
  });

  test.each(["n1", "n2", "n3"])("when the clock of %s jumps an hour ahead", async (name) => {
    await world.clock.advance(SECOND_MS);
    world.jump(name, HOUR_MS);
    expect(await lifeMs()).toBeGreaterThanOrEqual(TTL_MS);
  });

  test.each(["n1", "n2", "n3"])("when the clock of %s runs a hundred times as fast", async (name) => {
    world.setRate(name, 100);
    expect(await lifeMs()).toBeGreaterThanOrEqual(TTL_MS);
  });

  test("when a clock jumps back, and it ends all the same", async () => {
    await world.clock.advance(SECOND_MS);
    world.jump("n1", -HOUR_MS);
    const took = await lifeMs();
    expect(took).toBeGreaterThanOrEqual(TTL_MS);
    expect(took).toBeLessThan(TTL_MS + SLACK_MS);
  });

  test.each(["n1", "n3"])("when %s sleeps through its renewals", async (name) => {
    world.pause(name);
    await renewFor(4 * TTL_MS);
    world.resume(name);
    await world.clock.advance(TTL_MS / 2);
    expect(world.has(lease)).toBe(true);
    expect(await lifeMs()).toBeGreaterThanOrEqual(TTL_MS);
  });

  test("when all nodes start again: its time begins anew", async () => {
    await world.clock.advance(TTL_MS - SECOND_MS);
    for (const name of ["n1", "n2", "n3"]) await world.restart(name);
    expect(await lifeMs()).toBeGreaterThanOrEqual(2 * TTL_MS - SECOND_MS);
  });

  test("when a quorum agrees that has not applied its renewal yet: the command names the one before", async () => {
    world.hold("n1");
    world.hold("n2");
    await world.clock.advance(TTL_MS / 2);
    await world.renew(lease);
    sinceMs = world.clock.nowMs();
    // By what these two have seen the lease is idle, and so they propose its end.
    await world.clock.advance(TTL_MS / 2 + SECOND_MS);
    world.unhold("n1");
    world.unhold("n2");
    await world.clock.settle();
    expect(world.has(lease)).toBe(true);
    expect(await lifeMs()).toBeGreaterThanOrEqual(TTL_MS);
  });
});

test("many leases end together, in commands of a bounded size", async () => {
  const leases = [lease];
  for (let count = 0; count < 3_000; count++) leases.push(await world.grant(TTL_MS));
  await world.clock.advance(TTL_MS + SLACK_MS);
  expect(leases.filter((each) => world.has(each))).toEqual([]);
});

test("leases that wait for an overloaded node end together, in commands of a bounded size", async () => {
  const leases = [lease];
  // Those that end first come last: asked for later, the others are asked for beside them.
  for (const ttlMs of [TTL_MS, TTL_MS / 2]) {
    for (let count = 0; count < 1_000; count++) leases.push(await world.grant(ttlMs));
  }
  world.isOverloaded = true;
  await world.clock.advance(TTL_MS + SLACK_MS);
  expect(leases.every((each) => world.has(each))).toBe(true);
  world.isOverloaded = false;
  await world.clock.advance(SLACK_MS);
  expect(leases.filter((each) => world.has(each))).toEqual([]);
});
