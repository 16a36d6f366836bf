// A crash at every moment of a deployment: whatever was under way, the end is the same.
import { afterEach, describe, expect, test } from "vitest";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";
import { openLastWords } from "../support/last-words.ts";

const SHOP = blueprintOf({ orders: sliceOf("orders", 3), pricing: sliceOf("pricing", 2) });
/** From the first command to the last ACTIVE takes about 80 ms here; each work of a host takes 20. */
const MOMENTS_MS = Array.from({ length: 12 }, (_, index) => index * 8);
let world: ClusterWorld;

function isWhole(): boolean {
  return world.active("orders").length === 3 && world.active("pricing").length === 2 && world.rows().length === 5;
}

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

test.each(MOMENTS_MS)("a leader that restarts %d ms into a deployment leaves nothing undone", async (atMs) => {
  world = await ClusterWorld.open();
  await world.apply(SHOP);
  await world.clock.advance(atMs);
  await world.kill("n1");
  await world.clock.advance(700);
  world.start("n1");
  await world.until(isWhole, 10_000);
  const before = world.rows();
  await world.clock.advance(11_000);
  expect(world.rows()).toEqual(before);
  expect(world.endpoints()).toHaveLength(10);
});

test.each(MOMENTS_MS)("a node that crashes %d ms into a deployment and stays away is replaced", async (atMs) => {
  world = await ClusterWorld.open();
  await world.apply(SHOP);
  await world.clock.advance(atMs);
  await world.kill("n3");
  await world.until(() => isWhole() && world.rows().every((row) => !row.startsWith("n3 ")), 10_000);
  expect(world.endpoints()).toHaveLength(10);
  const workers = [...world.nodes.values()].flatMap(({ host }) => [...host.hosted().keys()]);
  expect(workers).toHaveLength(5);
});

/** Two of each stand evenly without the third node too: nothing is moved when it comes back. */
const PAIRS = blueprintOf(Object.fromEntries(["orders", "pricing", "stock"].map((name) => [name, sliceOf(name, 2)])));

describe.each(["lost", "applied"] as const)("a leader that dies waiting for a write that is %s", (fate) => {
  const isPaired = (): boolean =>
    Object.keys(PAIRS.slices).every((slice) => world.active(slice).length === 2) && world.rows().length === 6;

  test("leaves nothing undone and nothing twice, whichever write it is", async () => {
    let at = 1;
    for (let isReached = true; isReached; at++) {
      const opened = await openLastWords(at, fate);
      const { last } = opened;
      world = opened.world;
      last.isArmed = true;
      await world.apply(PAIRS);
      await world.clock.advance(300);
      isReached = last.isReached;
      if (isReached) {
        await world.kill("n1");
        await world.clock.advance(at % 2 === 0 ? 700 : 4_200);
        world.start("n1");
      }
      await world.until(isPaired, 10_000);
      await world.clock.advance(11_000);
      expect(isPaired()).toBe(true);
      expect(world.mostRows).toBe(6);
      expect(world.endpoints()).toHaveLength(12);
      expect(world.fatal).toEqual([]);
      if (isReached) await world.close();
    }
    // Six instances, each loaded and activated: at least so many writes were tried.
    expect(at).toBeGreaterThan(10);
  });
});
