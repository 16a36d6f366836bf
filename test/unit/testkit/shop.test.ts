// The second example shop in a simulated cluster: what it keeps, under callers at once and nodes that die.
import { readFile } from "node:fs/promises";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { inventory } from "../../../docs/examples/02-shop/contracts/inventory.ts";
import { notifications } from "../../../docs/examples/02-shop/contracts/notifications.ts";
import { orders } from "../../../docs/examples/02-shop/contracts/orders.ts";
import { pricing } from "../../../docs/examples/02-shop/contracts/pricing.ts";
import { parseBlueprintDocument } from "../../../src/sdk/blueprint.ts";
import { buildSlices, createTestCluster, type TestCluster, type TestSlice } from "../../../src/testkit/index.ts";

const SHOP = new URL("../../../docs/examples/02-shop/", import.meta.url);

let slices: readonly TestSlice[];
beforeAll(async () => {
  slices = await buildSlices(["orders", "pricing", "inventory", "notifications"].map((name) => new URL(name, SHOP)));
});

async function openShop(seed: number): Promise<TestCluster> {
  const document = parseBlueprintDocument(parse(await readFile(new URL("shop.yaml", SHOP), "utf8")));
  const blueprint = { ...document, name: "shop" };
  const cluster = await createTestCluster({ nodes: 3, seed, time: "virtual", slices, blueprint });
  onTestFinished(() => cluster.close());
  return cluster;
}

test("three chairs are sold to three of eight customers at once; a cancelled one is sold again", async () => {
  const cluster = await openShop(1);
  const { place, cancel, list } = cluster.slice(orders);
  const answers = await Promise.all(Array.from({ length: 8 }, () => place({ sku: "chair" })));
  const ids = answers.flatMap((answer) => (answer.status === "placed" ? [answer.id] : []));
  expect(ids).toHaveLength(3);
  const [first = ""] = ids;
  expect(await cancel({ id: first })).toMatchObject({ order: { status: "cancelled" } });
  expect(await cancel({ id: first })).toMatchObject({ order: { status: "cancelled" } });
  expect(await cluster.slice(inventory).levels({ sku: "chair" })).toEqual({ available: 1 });
  expect(await place({ sku: "chair" })).toMatchObject({ status: "placed" });
  expect((await list({})).orders).toHaveLength(4);
  const told = cluster.slice(notifications);
  await cluster.until(async () => (await told.sent({})).texts.length === 5);
  expect((await told.sent({})).texts.filter((text) => text.includes(first))).toHaveLength(2);
});

test("what many want costs more: pricing asks the orders, which ask pricing", async () => {
  const cluster = await openShop(2);
  const { quote } = cluster.slice(pricing);
  expect(await quote({ sku: "book" })).toEqual({ unitCents: 1_500, totalCents: 1_500 });
  for (let count = 0; count < 3; count += 1) await cluster.slice(orders).place({ sku: "book" });
  await cluster.until(async () => (await quote({ sku: "book" })).unitCents === 1_800);
});

test.each([3, 4, 5])("stock and orders agree after a node died in the middle of orders (seed %i)", async (seed) => {
  const cluster = await openShop(seed);
  const sales = Array.from({ length: 12 }, async (_, customer) => {
    const via = `n${(customer % 2) + 1}`;
    try {
      return await cluster.slice(orders, { via }).place({ sku: "lamp" });
    } catch {
      // ignored: in doubt, as the customer is told; what counts is what the store says.
      return undefined;
    }
  });
  await cluster.advance(15);
  cluster.kill("n3");
  const answers = await Promise.all(sales);
  await cluster.start("n3");
  await cluster.until(async () => (await cluster.instances("inventory")).every(({ state }) => state === "ACTIVE"));
  // What was reserved for an order that was never written is reserved all the same: only the stock is to agree with it.
  const { available } = await cluster.slice(inventory).levels({ sku: "lamp" });
  const { orders: placed } = await cluster.slice(orders).list({ limit: 100 });
  expect(placed.length).toBeLessThanOrEqual(100 - available);
  expect(await cluster.slice(inventory).recount({})).toEqual({ corrected: [] });
  const known = answers.flatMap((answer) => (answer?.status === "placed" ? [answer.id] : []));
  expect(known.length).toBeGreaterThan(0);
  expect(placed.map(({ id }) => id)).toEqual(expect.arrayContaining(known));
  await cluster.until(async () => {
    const { texts } = await cluster.slice(notifications).sent({});
    return known.every((id) => texts.some((text) => text.includes(id)));
  });
});

test("the stock is counted by itself, once per tick", async () => {
  const cluster = await openShop(6);
  const counts = (): number => cluster.log().filter((line) => line.includes("stock counted")).length;
  await cluster.until(() => counts() > 0, 120_000);
  await cluster.advance(40_000);
  expect(counts()).toBe(1);
});
