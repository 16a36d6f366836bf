// Real services of three nodes over one real store: nodes are drained and taken into duty again.
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseNodeId } from "../../src/base/ids.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";

const SLICES = ["inventory", "orders", "pricing"];
const SHOP = blueprintOf({
  inventory: sliceOf("inventory", 2), orders: sliceOf("orders", 1), pricing: sliceOf("pricing", 2),
});
const N2 = parseNodeId("n2");
const ROWS = 5;
let world: ClusterWorld;

function isWhole(): boolean {
  return world.rows().length === ROWS && world.rows().every((row) => row.endsWith(" ACTIVE"));
}

function has(node: string): boolean {
  return world.rows().some((row) => row.startsWith(`${node} `));
}

async function drain(node: string, by = "n1", isForced = false): Promise<void> {
  await world.settled(world.node(by).services.intents.drain(parseNodeId(node), { isForced }));
}

async function cancel(node: string): Promise<void> {
  await world.settled(world.node("n1").services.intents.cancelDrain(parseNodeId(node), {}));
}

/** Moves time in small steps until `isReached`, and gives the fewest that served of any slice on the way. */
async function fewestServing(isReached: () => boolean, limitMs: number): Promise<number> {
  let fewest = Infinity;
  await world.until(() => {
    for (const slice of SLICES) {
      const wanted = slice === "orders" ? 1 : 2;
      fewest = Math.min(fewest, world.active(slice).length - wanted);
    }
    return isReached();
  }, limitMs);
  return fewest;
}

beforeEach(async () => {
  world = await ClusterWorld.open();
  await world.apply(SHOP);
  await world.until(isWhole, 3_000);
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

test.each(["n1", "n2", "n3"])("%s loses nothing that serves before others do, then it is drained", async (name) => {
  expect(has(name)).toBe(true);
  await drain(name);
  expect(await fewestServing(() => world.dutyOf("drained").includes(name), 20_000)).toBe(0);
  expect(has(name)).toBe(false);
  await world.until(isWhole, 5_000);
  expect(world.node(name).host.hosted().size).toBe(0);
  expect(world.node("n1").services.instancesOn(parseNodeId(name))).toBe(0);
});

test("while it is drained its endpoints still serve; nothing new goes there, also not after its restart", async () => {
  await drain("n2");
  await world.until(() => world.dutyOf("draining").includes("n2"), 2_000);
  expect(world.node("n1").services.membership.isServing(N2)).toBe(true);
  await world.until(() => world.dutyOf("drained").includes("n2"), 20_000);
  expect(world.node("n1").services.membership.isServing(N2)).toBe(false);
  await world.stop("n2");
  await world.clock.advance(1_000);
  world.start("n2");
  await world.until(() => world.dutyOf("drained").includes("n2"), 5_000);
  await world.apply(blueprintOf({ ...SHOP.slices, orders: sliceOf("orders", 6) }, 2));
  await world.until(() => world.active("orders").length === 6, 5_000);
  expect(has("n2")).toBe(false);
});

test("a node that is killed while it is drained comes back to be drained", async () => {
  await drain("n2");
  await world.until(() => world.dutyOf("draining").includes("n2"), 2_000);
  await world.kill("n2");
  await world.clock.advance(1_000);
  world.start("n2");
  await world.until(() => world.dutyOf("drained").includes("n2"), 20_000);
  await world.until(isWhole, 5_000);
  expect(has("n2")).toBe(false);
});

test("a cancelled drain leaves the node on duty with what it still has, and nothing twice", async () => {
  await drain("n2");
  await world.until(() => world.dutyOf("draining").includes("n2"), 2_000);
  await cancel("n2");
  expect(await fewestServing(() => world.dutyOf("on-duty").length === 3 && isWhole(), 20_000)).toBe(0);
  await world.clock.advance(20_000);
  expect(isWhole()).toBe(true);
});

test("a drained node that is wanted again gets what is placed next", async () => {
  await drain("n2");
  await world.until(() => world.dutyOf("drained").includes("n2"), 20_000);
  await cancel("n2");
  await world.until(() => world.dutyOf("on-duty").length === 3, 5_000);
  await world.apply(blueprintOf({ ...SHOP.slices, orders: sliceOf("orders", 3) }, 2));
  await world.until(() => world.active("orders").length === 3, 5_000);
  expect(has("n2")).toBe(true);
});

test("two nodes at once leave to the third", async () => {
  await drain("n2");
  await drain("n3");
  expect(await fewestServing(() => world.dutyOf("drained").length === 2, 30_000)).toBe(0);
  await world.until(isWhole, 5_000);
  expect(world.rows().every((row) => row.startsWith("n1 "))).toBe(true);
});

test("the last node on duty is drained only by force, and then keeps what has no other place", async () => {
  await drain("n2");
  await drain("n3");
  await world.until(() => world.dutyOf("drained").length === 2, 30_000);
  await expect(drain("n1")).rejects.toMatchObject({ code: "E_CONFLICT" });
  await expect(drain("n7")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  await drain("n1", "n1", true);
  await world.clock.advance(30_000);
  expect(world.dutyOf("draining")).toEqual(["n1"]);
  expect(isWhole()).toBe(true);
});

test("when the leader dies in the middle another one goes on", async () => {
  for (let afterMs = 0; afterMs < 600; afterMs += 50) {
    const fresh = await ClusterWorld.open();
    await fresh.apply(SHOP);
    const isActive = (row: string): boolean => row.endsWith(" ACTIVE");
    await fresh.until(() => fresh.rows().length === ROWS && fresh.rows().every(isActive), 3_000);
    await fresh.settled(fresh.node("n3").services.intents.drain(N2, { isForced: false }));
    await fresh.clock.advance(afterMs);
    await fresh.kill("n1");
    await fresh.until(() => fresh.dutyOf("drained").includes("n2"), 40_000);
    const isOnThird = (row: string): boolean => /^n3 .* ACTIVE$/.test(row);
    await fresh.until(() => fresh.rows().length === ROWS && fresh.rows().every(isOnThird), 40_000);
    expect(fresh.fatal).toEqual([]);
    await fresh.close();
  }
});
