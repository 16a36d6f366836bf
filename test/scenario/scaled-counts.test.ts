// Owns: how the row of a slice's scale works beside its blueprint: with real services on virtual time.
import { afterEach, beforeEach, expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { parseNodeId } from "../../src/base/ids.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { ScaleRow } from "../../src/slices/core/scale-row.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";

const SCALE = formatKey({ kind: "scale", slice: "orders" });
let world: ClusterWorld;

function scaleTo(instances: number, change: Partial<ScaleRow> = {}): Promise<void> {
  const row: ScaleRow = {
    blueprint: "shop", base: 2, instances, direction: "up", source: "rule", reason: "a test", changedAtMs: 0, ...change,
  };
  return world.write(SCALE, row);
}

async function untilActive(count: number): Promise<void> {
  await world.until(() => world.active("orders").length === count && world.rows().length === count, 10_000);
}

/** How often each instance that is there was started. */
function generations(): readonly number[] {
  return world.rows().map((row) => world.row(row.split(" ")[0] ?? "", "orders")?.generation ?? 0);
}

beforeEach(async () => {
  world = await ClusterWorld.open();
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2) }));
  await untilActive(2);
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

test("a scaled slice has that many instances, and those that were there go on", async () => {
  await scaleTo(5);
  await untilActive(5);
  expect(new Set(world.rows().map((row) => row.split(" ")[0]))).toEqual(new Set(["n1", "n2", "n3"]));
  await scaleTo(3);
  await untilActive(3);
  expect(generations()).toEqual([1, 1, 1]);
  await scaleTo(2);
  await untilActive(2);
});

test("another number in the blueprint goes before the scale, and a new version keeps it", async () => {
  await scaleTo(4);
  await untilActive(4);
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2, { config: { another: true } }) }, 2));
  await world.until(() => world.rollout("orders")?.stage === "done", 20_000);
  expect(world.active("orders")).toHaveLength(4);
  await world.apply(blueprintOf({ orders: sliceOf("orders", 3, { config: { another: true } }) }, 3));
  await untilActive(3);
});

const NODES = ["n1", "n2", "n3"];

test.each(NODES)("is kept with a new version, overtaken by another one, while %s is drained", async (drained) => {
  await scaleTo(4);
  await untilActive(4);
  let fewest = Number.POSITIVE_INFINITY;
  const passing = async (isReached: () => boolean): Promise<void> => {
    await world.until(() => {
      fewest = Math.min(fewest, world.active("orders").length);
      return isReached();
    }, 60_000);
  };
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2, { config: { version: 2 } }) }, 2));
  await world.settled(world.node(present(NODES.find((name) => name !== drained), "another node"))
    .services.intents.drain(parseNodeId(drained), { isForced: false }));
  await passing(() => world.rollout("orders")?.target.revision === 2);
  await scaleTo(5);
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2, { config: { version: 3 } }) }, 3));
  await passing(() => world.rollout("orders")?.target.revision === 3 && world.rollout("orders")?.stage === "done");
  await passing(() => world.dutyOf("drained").includes(drained));
  await untilActive(5);
  expect(fewest).toBeGreaterThanOrEqual(4);
  expect(world.rows().filter((row) => row.startsWith(`${drained} `))).toEqual([]);
});

test("a scale of another blueprint's slice, or one that cannot be read, counts as none", async () => {
  await scaleTo(5, { blueprint: "another" });
  await world.clock.advance(2_000);
  expect(world.active("orders")).toHaveLength(2);
  await scaleTo(5);
  await untilActive(5);
  await world.write(SCALE, { instances: "many" });
  await untilActive(2);
});

test("whoever leads next goes on with the scaled count", async () => {
  await scaleTo(4);
  await untilActive(4);
  const leader = world.leader() ?? "";
  await world.kill(leader);
  await world.until(() => world.leader() !== undefined, 10_000);
  await world.until(() => world.active("orders").length === 4 && world.dutyOf("gone").includes(leader), 60_000);
});
