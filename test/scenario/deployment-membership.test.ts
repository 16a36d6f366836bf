// Real services of several nodes over one real store: nodes become members and are removed.
import { afterEach, beforeEach, expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { parseNodeId } from "../../src/base/ids.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";

const SHOP = blueprintOf({ orders: sliceOf("orders", 6) });
let world: ClusterWorld;

function isWholeOn(...names: readonly string[]): boolean {
  const active = world.active("orders");
  return active.length === 6 && world.rows().length === 6 && active.every((row) => names.includes(row.slice(0, 2)));
}

beforeEach(async () => {
  world = await ClusterWorld.open();
  await world.apply(SHOP);
  await world.until(() => isWholeOn("n1", "n2", "n3"), 3_000);
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

test("the instances of a removed node move at once, although it still runs", async () => {
  world.setMembers(["n1", "n2"]);
  expect(await world.until(() => isWholeOn("n1", "n2"), 5_000)).toBeLessThan(3_000);
  expect(world.node("n1").services.membership.isServing(parseNodeId("n3"))).toBe(false);
  expect(world.dutyOf("gone")).toEqual(["n3"]);
});

test("a drained node that is removed leaves no wish behind: another one of its name is on duty", async () => {
  const n3 = parseNodeId("n3");
  await world.settled(world.node("n1").services.intents.drain(n3, { isForced: false }));
  await world.until(() => world.dutyOf("drained").includes("n3"), 20_000);
  await world.kill("n3");
  await world.until(() => world.dutyOf("gone").includes("n3"), 10_000);
  // It waits for it as long as it may come back.
  await world.clock.advance(15_000);
  const intent = formatKey({ kind: "node-intent", node: n3 });
  const read = async () => (await world.settled(world.local.kv.get(intent, { consistency: "local" }))).entry?.value;
  expect(await read()).toEqual({ want: "drained" });
  world.setMembers(["n1", "n2"]);
  await world.clock.advance(1_000);
  expect(await read()).toBeUndefined();
  world.setMembers(["n1", "n2", "n3"]);
  world.start("n3");
  await world.until(() => world.dutyOf("on-duty").length === 3, 5_000);
});

test("a leader that is removed gives the lead to a voter", async () => {
  expect(world.leader()).toBe("n1");
  world.setMembers(["n2", "n3"]);
  await world.until(() => world.leader() === "n2" && isWholeOn("n2", "n3"), 15_000);
});

test("a new member gets instances, and is seen by all", async () => {
  world.setMembers(["n1", "n2", "n3", "n4"]);
  world.start("n4");
  await world.until(() => world.dutyOf("on-duty").length === 4, 5_000);
  await world.apply(blueprintOf({ orders: sliceOf("orders", 8) }, 2));
  await world.until(() => world.active("orders").some((row) => row.startsWith("n4 ")), 10_000);
  const [n4] = world.node("n1").services.membership.nodes.filter(({ node }) => node === "n4");
  expect(n4).toMatchObject({ isVoter: true, isLost: false, status: "on-duty", peerAddress: "ws://n4" });
});

test("that a life of a node is over is known from what was written later, and not before", async () => {
  const { membership } = world.node("n1").services;
  const n3 = parseNodeId("n3");
  const lifeNow = () => present(membership.rowOf(n3), "it has been on duty");
  const { modRevision: since, value: old } = lifeNow();
  expect(membership.hasEnded(old, since)).toBe(false);
  await world.kill("n3");
  await world.until(() => world.dutyOf("gone").length === 1, 15_000);
  expect(membership.hasEnded(old, since)).toBe(true);
  expect(membership.hasEnded(old, lifeNow().modRevision + 1)).toBe(false);
  world.start("n3");
  await world.until(() => world.dutyOf("on-duty").length === 3, 15_000);
  expect(membership.hasEnded(old, since)).toBe(true);
  expect(membership.hasEnded(lifeNow().value, since)).toBe(false);
  expect(membership.hasEnded({ ...old, node: parseNodeId("n9") }, 1)).toBe(true);
  expect(membership.hasEnded({ ...old, node: parseNodeId("n9") }, 1_000_000)).toBe(false);
});
