// What a contract says of its methods, kept by a cluster: rates, answers that are kept, retries; and calls with a key.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { defineContract, defineSlice, method } from "../../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestCluster } from "../../../src/testkit/index.ts";

const anything = { input: z.object({ sku: z.string() }), output: z.object({ run: z.int() }) };
const shop = defineContract("shop", {
  quote: method({ ...anything, effect: "read", cache: { ttlMs: 2_000, entriesMax: 10 } }),
  look: method({ ...anything, effect: "read" }),
  notify: method({ ...anything, rateLimit: { perSecond: 2, burst: 4 }, retry: { max: 0 } }),
  order: method({ ...anything, timeoutMs: 12_000 }),
});

/** `runs` counts what every handler of every instance has begun. */
async function openShop(runs: { count: number }, instances = 2): Promise<TestCluster> {
  const version = (artifact: string) => inlineSlice({
    artifact,
    create: ({ sleep }) => {
      const run = async (): Promise<{ run: number }> => {
        const own = ++runs.count;
        await sleep(50);
        return { run: own };
      };
      return defineSlice({ contract: shop, methods: { quote: run, look: run, notify: run, order: run } });
    },
  });
  const cluster = await createTestCluster({
    nodes: 3, seed: 7, time: "virtual",
    slices: [version("test:shop:1.0.0"), version("test:shop:1.1.0")],
    blueprint: { name: "all", slices: { shop: { artifact: "test:shop:1.0.0", instances } } },
  });
  onTestFinished(() => cluster.close());
  return cluster;
}

test("a read with a cache runs once for all who ask a node, until its time is over", async () => {
  const runs = { count: 0 };
  const cluster = await openShop(runs);
  const client = cluster.slice(shop, { via: "n1" });
  const answers = await Promise.all(Array.from({ length: 20 }, () => client.quote({ sku: "tea" })));
  expect(answers).toEqual(answers.map(() => ({ run: 1 })));
  expect(await client.quote({ sku: "tea" })).toEqual({ run: 1 });
  expect(await client.quote({ sku: "mug" })).toEqual({ run: 2 });
  expect(await cluster.slice(shop, { via: "n2" }).quote({ sku: "tea" })).toEqual({ run: 3 });
  await cluster.advance(2_000);
  expect(await client.quote({ sku: "tea" })).toEqual({ run: 4 });
  expect(await client.look({ sku: "tea" })).toEqual({ run: 5 });
  expect(await client.look({ sku: "tea" })).toEqual({ run: 6 });
});

test("a new version does not answer with what the old one said", async () => {
  const runs = { count: 0 };
  const cluster = await openShop(runs);
  const client = cluster.slice(shop, { via: "n1" });
  await client.quote({ sku: "tea" });
  await cluster.apply({ name: "all", slices: { shop: { artifact: "test:shop:1.1.0", instances: 2 } } });
  expect(await client.quote({ sku: "tea" })).toEqual({ run: 2 });
});

test("a rate holds for all instances together, and refuses before anything runs", async () => {
  const runs = { count: 0 };
  const cluster = await openShop(runs);
  const client = cluster.slice(shop);
  const told = await Promise.allSettled(Array.from({ length: 20 }, () => client.notify({ sku: "tea" })));
  expect(runs.count).toBe(4);
  for (const end of told) {
    if (end.status === "fulfilled") continue;
    expect(end.reason).toMatchObject({
      code: "E_OVERLOADED", outcome: "not-applied",
      details: { class: "overloaded", retryAfterMs: expect.any(Number) as number },
    });
  }
  await cluster.advance(3_000);
  await client.notify({ sku: "tea" });
});

test("a key survives the nodes that a call goes through", async () => {
  const runs = { count: 0 };
  const cluster = await openShop(runs, 3);
  const options = { idempotencyKey: "order-1" };
  const first = cluster.slice(shop, { via: "n1" }).order({ sku: "tea" }, options);
  const second = cluster.slice(shop, { via: "n2" }).order({ sku: "tea" }, options);
  expect(await second).toEqual(await first);
  for (const node of cluster.nodes) {
    cluster.kill(node);
    expect(await cluster.slice(shop).order({ sku: "tea" }, options)).toEqual({ run: 1 });
    await cluster.start(node);
  }
  expect(runs.count).toBe(1);
  await expect(cluster.slice(shop).order({ sku: "mug" }, options)).rejects.toMatchObject({ code: "E_CONFLICT" });
});
