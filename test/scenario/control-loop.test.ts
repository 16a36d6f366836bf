// Owns: the loop of control in whole simulated nodes: real calls are measured, rules hold, instances come and go.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { formatKey } from "../../src/kvstore/core/key.ts";
import { ControlledCluster, ORDERS_RULES } from "../support/controlled-cluster.ts";

let world: ControlledCluster;

beforeEach(async () => {
  world = await ControlledCluster.open();
});

afterEach(async () => {
  await world.close();
});

/** What holds of every scale that was ever written. */
function expectWithinBounds(): void {
  let before: (typeof world.scales)[number] | undefined;
  for (const scale of world.scales) {
    expect(scale.instances).toBeGreaterThanOrEqual(1);
    expect(scale.instances).toBeLessThanOrEqual(4);
    expect(Math.abs(scale.instances - (before?.instances ?? 1))).toBe(1);
    // A second of the round, and what clocks of nodes are off by.
    if (before !== undefined) expect(scale.atMs - before.atMs).toBeGreaterThan(2_500);
    before = scale;
  }
}

test("a load that rises brings instances on other nodes, and its end takes them away; no call fails", async () => {
  await world.applyRules(ORDERS_RULES);
  await world.passUntilActive(3, 30);
  expect((await world.nodesOfInstances()).size).toBe(3);
  await world.pass(20, 30);
  expect(await world.active()).toBe(3);
  await world.passUntilActive(1, 1);
  expect(world.failed).toEqual([]);
  expect(world.scales.map(({ instances }) => instances)).toEqual([2, 3, 2, 1]);
  expect(world.scales.map(({ source }) => source)).toEqual(["rule up", "rule up", "rule down", "rule down"]);
  expectWithinBounds();
});

test("another leader goes on where the one before died", async () => {
  await world.applyRules(ORDERS_RULES);
  await world.passUntilActive(2, 30);
  const leader = world.cluster.leader() ?? "";
  world.cluster.kill(leader);
  await world.passUntilActive(3, 30);
  expect(world.cluster.leader()).not.toBe(leader);
  await world.cluster.start(leader);
  await world.passUntilActive(1, 1, 120);
  expectWithinBounds();
});

describe("a person's word goes before any rule", () => {
  test.each([
    ["a pause", formatKey({ kind: "control-pause" })],
    ["a pin", formatKey({ kind: "control-pin", slice: "orders" })],
  ])("%s", async (_what, key) => {
    await world.put(key, { by: "ann", atMs: 0 });
    await world.applyRules(ORDERS_RULES);
    await world.pass(20, 30);
    expect(world.scales).toEqual([]);
  });

  test("another number in the blueprint", async () => {
    await world.applyRules(ORDERS_RULES);
    await world.passUntilActive(3, 30);
    await world.applyRules("rules: []");
    await world.cluster.apply({ name: "shop", slices: { orders: { artifact: "test:orders:1.0.0", instances: 2 } } });
    await world.passUntilActive(2, 30);
    await world.pass(10, 30);
    expect(await world.active()).toBe(2);
  });
});

test("without rules what was scaled goes back to what the blueprint says", async () => {
  await world.applyRules(ORDERS_RULES);
  await world.passUntilActive(3, 30);
  await world.applyRules("rules: []");
  await world.passUntilActive(1, 30, 200);
  expect(world.scales.at(-1)).toMatchObject({ instances: 1, source: "blueprint" });
});

test("while nothing is to change nothing is written", async () => {
  await world.applyRules(ORDERS_RULES);
  await world.pass(60, 6);
  expect(world.scales).toEqual([]);
});

test.each([11, 12, 13, 14])("partitions and new leaders never lead out of the bounds (seed %d)", async (seed) => {
  await world.close();
  world = await ControlledCluster.open({ seed });
  await world.applyRules(ORDERS_RULES);
  const nodes = world.cluster.nodes;
  for (let turn = 0; turn < 6; turn++) {
    const alone = turn % 2 === 0 ? world.cluster.leader() : nodes[(seed + turn) % 3];
    if (alone !== undefined) world.cluster.partition([alone], nodes.filter((node) => node !== alone));
    await world.pass(6 + ((seed * (turn + 1)) % 7), turn % 3 === 0 ? 40 : 1);
    world.cluster.heal();
    await world.pass(5 + ((seed + turn) % 5), turn % 2 === 0 ? 40 : 1);
  }
  await world.passUntilActive(3, 30, 120);
  await world.passUntilActive(1, 1, 180);
  expectWithinBounds();
});
