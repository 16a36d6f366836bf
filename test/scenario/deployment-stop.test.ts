// Real services of three nodes over one real store: a node that stops in order waits until its callers know.
import { afterEach, beforeEach, expect, test } from "vitest";
import { CALLERS_KNOW_MS_MAX } from "../../src/cluster/deployment/node-deployment-manager.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";

const PEER_KNOWS_AFTER_MS = 400;
let world: ClusterWorld;

/** How long n3 takes to stop, and which endpoints it had then. */
async function stopTime(): Promise<number> {
  const startedAtMs = world.clock.nowMs();
  await world.stop("n3");
  expect(world.endpoints().filter((endpoint) => endpoint.startsWith("n3 "))).toEqual([]);
  return world.clock.nowMs() - startedAtMs;
}

/** From now on n1 has not seen what is written later. */
function holdBack(name: string): void {
  world.saysApplied.set(name, world.local.group.status().applied);
}

beforeEach(async () => {
  world = await ClusterWorld.open();
  await world.apply(blueprintOf({ orders: sliceOf("orders", 3) }));
  await world.until(() => world.active("orders").length === 3, 3_000);
  // Until everybody has said that.
  await world.clock.advance(1_000);
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

test("it ends soon when every peer has applied that its endpoints are gone", async () => {
  expect(await stopTime()).toBeLessThan(PEER_KNOWS_AFTER_MS);
});

test("it waits for a peer that has not, and no longer than that", async () => {
  holdBack("n1");
  world.clock.setTimer(PEER_KNOWS_AFTER_MS, () => world.saysApplied.clear());
  const tookMs = await stopTime();
  expect(tookMs).toBeGreaterThanOrEqual(PEER_KNOWS_AFTER_MS);
  expect(tookMs).toBeLessThan(CALLERS_KNOW_MS_MAX);
});

test("it goes without a peer that does not say so in time, and without one that it cannot hear", async () => {
  holdBack("n1");
  expect(await stopTime()).toBeGreaterThanOrEqual(CALLERS_KNOW_MS_MAX);
  world.start("n3");
  await world.until(() => world.active("orders").length === 3, 5_000);
  holdBack("n1");
  world.cutOff("n1");
  expect(await stopTime()).toBeLessThan(PEER_KNOWS_AFTER_MS);
});

test("a node that ran nothing does not wait", async () => {
  await world.remove("shop");
  await world.until(() => world.rows().length === 0, 5_000);
  holdBack("n1");
  expect(await stopTime()).toBeLessThan(PEER_KNOWS_AFTER_MS);
});
