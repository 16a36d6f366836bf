// Real services of three nodes over one real store: from a blueprint to instances that serve, and back.
import { afterEach, beforeEach, expect, test } from "vitest";
import { AetherError } from "../../src/base/errors.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";

const ORDERS = "demo:orders:1.0.0/0";
let world: ClusterWorld;

beforeEach(async () => {
  world = await ClusterWorld.open();
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

test("a blueprint becomes active instances, spread over the nodes, with their endpoints", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2), pricing: sliceOf("pricing", 1) }));
  await world.until(() => world.active("orders").length === 2 && world.active("pricing").length === 1, 2_000);
  expect(world.rows()).toEqual(["n1 orders/0 ACTIVE", "n2 orders/1 ACTIVE", "n3 pricing/0 ACTIVE"]);
  expect(world.endpoints()).toEqual([
    "n1 orders/0 place", "n1 orders/0 show", "n2 orders/1 place", "n2 orders/1 show",
    "n3 pricing/0 place", "n3 pricing/0 show",
  ]);
});

test("every node finds the endpoints and knows the slices", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2) }));
  await world.until(() => world.active("orders").length === 2, 2_000);
  for (const { services } of world.nodes.values()) {
    const found = services.registry.find("orders", "show").all.endpoints;
    expect(found.map(({ node, instance, effect }) => `${node} ${instance} ${effect}`)).toEqual([
      "n1 demo:orders:1.0.0/0 read", "n2 demo:orders:1.0.0/1 read",
    ]);
    expect(services.registry.isKnown("orders")).toBe(true);
    expect(services.registry.isKnown("nothing")).toBe(false);
    expect(services.registry.find("orders", "nothing").all.endpoints).toEqual([]);
  }
});

test("a stable cluster writes nothing but the leader's beat", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 3) }));
  await world.until(() => world.active("orders").length === 3, 2_000);
  const before = world.local.kv.revision;
  await world.clock.advance(30_000);
  expect(world.local.kv.revision - before).toBeLessThanOrEqual(31);
});

test("a deleted blueprint leaves no row, no endpoint and no worker", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2) }));
  await world.until(() => world.active("orders").length === 2, 2_000);
  await world.remove("shop");
  await world.until(() => world.rows().length === 0, 2_000);
  expect(world.endpoints()).toEqual([]);
  for (const { host } of world.nodes.values()) expect(host.hosted().size).toBe(0);
  expect(world.node("n1").host.steps.slice(-2)).toEqual([`deactivate ${ORDERS}`, `unload ${ORDERS}`]);
});

test("more instances come without a restart of the others, fewer end the surplus", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2) }));
  await world.until(() => world.active("orders").length === 2, 2_000);
  await world.apply(blueprintOf({ orders: sliceOf("orders", 3) }, 2));
  await world.until(() => world.active("orders").length === 3, 2_000);
  expect(world.node("n1").host.steps).toEqual([`load ${ORDERS}`, `activate ${ORDERS}`]);
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }, 3));
  await world.until(() => world.rows().length === 1, 2_000);
  expect(world.active("orders")).toHaveLength(1);
});

test("a crashed worker loses its endpoints with its state and is loaded again", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }));
  await world.until(() => world.active("orders").length === 1, 2_000);
  world.node("n1").host.crash(ORDERS);
  await world.clock.settle();
  expect(world.rows()).toEqual(["n1 orders/0 FAILED"]);
  expect(world.endpoints()).toEqual([]);
  expect(world.row("n1", "orders")?.error).toMatchObject({ code: "E_UNAVAILABLE", fatal: false });
  await world.until(() => world.active("orders").length === 1, 3_000);
  expect(world.row("n1", "orders")).toMatchObject({ attempt: 2, generation: 2 });
});

test("an instance that served for a minute and crashed starts its attempts anew and at once", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }));
  await world.until(() => world.active("orders").length === 1, 2_000);
  await world.clock.advance(61_000);
  world.node("n1").host.crash(ORDERS);
  await world.clock.settle();
  await world.until(() => world.active("orders").length === 1, 500);
  expect(world.row("n1", "orders")).toMatchObject({ attempt: 1, generation: 2 });
});

test("a failing start is tried again with a back-off that doubles", async () => {
  const { host } = world.node("n1");
  host.script("activate", ORDERS, new AetherError("E_HANDLER", "start threw"));
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }));
  const isFailedAgain = (): boolean => {
    const row = world.row("n1", "orders");
    return row?.attempt === 3 && row.state === "FAILED";
  };
  expect(await world.until(isFailedAgain, 10_000)).toBeGreaterThan(1_000 + 2_000);
  expect(host.steps.filter((step) => step === `activate ${ORDERS}`)).toHaveLength(3);
  expect(world.row("n1", "orders")?.error?.message).toBe("start threw");
  host.script("activate", ORDERS, undefined);
  expect(await world.until(() => world.active("orders").length === 1, 10_000)).toBeGreaterThan(3_000);
  expect(world.row("n1", "orders")?.error).toBeUndefined();
});

test("a fatal failure is not tried again until the blueprint is applied anew", async () => {
  const { host } = world.node("n1");
  host.script("load", ORDERS, new AetherError("E_INVALID", "the config does not match"));
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }));
  await world.clock.advance(120_000);
  expect(host.steps).toEqual([`load ${ORDERS}`]);
  expect(world.row("n1", "orders")).toMatchObject({ state: "FAILED", error: { fatal: true } });
  host.script("load", ORDERS, undefined);
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }, 2));
  await world.until(() => world.active("orders").length === 1, 2_000);
});

test("a load that hangs is stopped at its limit and is visible as failed", async () => {
  world.node("n1").host.script("load", ORDERS, "hang");
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }));
  await world.until(() => world.row("n1", "orders")?.state === "LOADING", 1_000);
  await world.clock.advance(119_000);
  expect(world.row("n1", "orders")?.state).toBe("LOADING");
  await world.until(() => world.row("n1", "orders")?.state === "FAILED", 2_000);
  expect(world.row("n1", "orders")?.error?.code).toBe("E_TIMEOUT");
  expect(world.node("n1").host.hosted().size).toBe(0);
});

test("a load under way is stopped when the blueprint is deleted", async () => {
  world.node("n1").host.script("load", ORDERS, "hang");
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }));
  await world.until(() => world.row("n1", "orders")?.state === "LOADING", 1_000);
  await world.remove("shop");
  await world.until(() => world.rows().length === 0, 1_000);
  expect(world.node("n1").host.hosted().size).toBe(0);
});

test("another config replaces the instances one by one, never with fewer serving", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2) }));
  await world.until(() => world.active("orders").length === 2, 2_000);
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2, { config: { currency: "EUR" } }) }, 2));
  let fewest = 2;
  await world.until(() => {
    fewest = Math.min(fewest, world.active("orders").length);
    const rows = world.rows();
    return rows.length === 2 && rows.includes("n3 orders/2 ACTIVE") && world.rollout("orders")?.stage === "done";
  }, 3_000);
  expect(fewest).toBe(2);
});

test("a loss of quorum stops nothing that runs, and everything goes on afterwards", async () => {
  await world.apply(blueprintOf({ orders: sliceOf("orders", 2) }));
  await world.until(() => world.active("orders").length === 2, 2_000);
  world.local.group.setMode("no-quorum");
  await world.clock.advance(20_000);
  expect(world.leader()).toBeUndefined();
  world.node("n2").host.crash("demo:orders:1.0.0/1");
  await world.clock.advance(20_000);
  expect(world.node("n1").host.hosted().get(ORDERS)).toBe("active");
  world.local.group.setMode("deciding");
  await world.until(() => world.node("n2").host.hosted().get("demo:orders:1.0.0/1") === "active", 10_000);
  await world.until(() => world.active("orders").length === 2, 2_000);
});
