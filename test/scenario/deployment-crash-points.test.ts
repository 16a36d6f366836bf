// A crash at every moment of a deployment: whatever was under way, the end is the same.
import { afterEach, expect, test } from "vitest";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";

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
