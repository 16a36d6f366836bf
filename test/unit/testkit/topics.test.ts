// Topics on simulated nodes: who gets what, in which order, whatever dies meanwhile.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { defineContract, defineSlice, defineTopic, messageOf, method, type SliceKv } from "../../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestCluster } from "../../../src/testkit/index.ts";

const sold = defineTopic("sold", {
  payload: z.object({ sku: z.string(), n: z.int() }),
  key: ({ sku }) => sku,
});

const till = defineContract("till", {
  sell: method({ input: z.object({ sku: z.string(), n: z.int() }), output: z.object({}) }),
});
const heard = z.array(z.int());
const listenerOf = (name: string) => defineContract(name, {
  hear: method({ input: sold.payload, output: z.object({}), timeoutMs: 2_000 }),
  told: method({ input: z.object({ sku: z.string() }), output: z.object({ told: heard }), effect: "read" }),
});
const books = listenerOf("books");
const stock = listenerOf("stock");

const tillSlice = inlineSlice({
  artifact: "test:till:1.0.0",
  create: () => defineSlice({
    contract: till,
    methods: { sell: async (sale, ctx) => (await ctx.publish(sold, sale), {}) },
  }),
});

/** Appends to a list in the store, whoever else does. */
async function append(kv: SliceKv, key: string, n: number): Promise<void> {
  for (;;) {
    const entry = await kv.get(key);
    const list = heard.parse(entry?.value ?? []);
    try {
      await kv.put(key, [...list, n], { ifRevision: entry?.modRevision ?? 0 });
      return;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "E_CONFLICT")) throw error;
    }
  }
}

function listener(contract: typeof books | typeof stock, version = "1.0.0") {
  return inlineSlice({
    artifact: `test:${contract.name}:${version}`,
    create: ({ sleep }) => defineSlice({
      contract,
      on: { sold: "hear" },
      methods: {
        hear: async ({ sku, n }, ctx) => {
          if (sku === "poison" && n === 1) throw new RangeError("never that");
          await sleep(20);
          await append(ctx.kv, sku, n);
          return {};
        },
        told: async ({ sku }, ctx) => ({ told: heard.parse((await ctx.kv.get(sku))?.value ?? []) }),
      },
    }),
  });
}

const SLICES = {
  till: { artifact: "test:till:1.0.0", instances: 2 },
  books: { artifact: "test:books@^1.0.0", instances: 2 },
};

async function open(seed: number): Promise<TestCluster> {
  const cluster = await createTestCluster({
    nodes: 3,
    seed,
    time: "virtual",
    slices: [tillSlice, listener(books), listener(stock), listener(books, "1.1.0")],
    blueprint: { name: "shop", slices: SLICES },
  });
  onTestFinished(() => cluster.close());
  return cluster;
}

async function told(cluster: TestCluster, contract: typeof books | typeof stock, sku: string): Promise<number[]> {
  try {
    return (await cluster.slice(contract).told({ sku })).told;
  } catch {
    // ignored: its node is away for the moment, and the caller asks again.
    return [];
  }
}

/** The first time that each was heard. */
function firsts(list: readonly number[]): readonly number[] {
  return [...new Set(list)];
}

const UP_TO = (count: number) => Array.from({ length: count }, (_, n) => n);

/** Sells so many of each, one after the other; a sale that fails without outcome is sold again. */
async function sellAll(cluster: TestCluster, skus: readonly string[], count: number): Promise<void> {
  await Promise.all(skus.map(async (sku) => {
    for (const n of UP_TO(count)) {
      for (;;) {
        try {
          await cluster.slice(till).sell({ sku, n });
          break;
        } catch {
          // ignored: it may have been published; at least once is what is promised.
          await cluster.advance(100);
        }
      }
    }
  }));
}

test("each slice that handles a topic gets each message once, in the order of its key", async () => {
  const cluster = await open(1);
  await cluster.apply({ name: "more", slices: { stock: { artifact: "test:stock@^1.0.0" } } });
  await sellAll(cluster, ["pen", "ink", "cap"], 6);
  for (const sku of ["pen", "ink", "cap"]) {
    for (const contract of [books, stock]) {
      await cluster.until(async () => (await told(cluster, contract, sku)).length >= 6);
      expect(await told(cluster, contract, sku)).toEqual(UP_TO(6));
    }
  }
});

test.each([2, 3, 4, 5])("nothing is lost, order is kept, while nodes are killed and return (seed %i)", async (seed) => {
  const cluster = await open(seed);
  const skus = ["pen", "ink", "cap", "jar"];
  const selling = sellAll(cluster, skus, 12);
  for (const node of ["n1", "n2", "n3"]) {
    await cluster.advance(150);
    cluster.kill(node);
    await cluster.advance(1_500);
    await cluster.start(node);
    await cluster.advance(2_500);
  }
  await selling;
  for (const sku of skus) {
    await cluster.until(async () => firsts(await told(cluster, books, sku)).length === 12, 60_000);
    expect(firsts(await told(cluster, books, sku))).toEqual(UP_TO(12));
  }
});

test.each([9, 10])("nothing is lost, order is kept, while nodes pause and are cut off (seed %i)", async (seed) => {
  const cluster = await open(seed);
  const skus = ["pen", "ink", "cap", "jar"];
  const selling = sellAll(cluster, skus, 12);
  for (const node of ["n1", "n2", "n3"]) {
    await cluster.advance(150);
    cluster.pause(node, 1_500);
    await cluster.advance(2_000);
    cluster.partition([node], ["n1", "n2", "n3"].filter((other) => other !== node));
    await cluster.advance(2_500);
    cluster.heal();
    await cluster.advance(1_000);
  }
  await selling;
  for (const sku of skus) {
    await cluster.until(async () => firsts(await told(cluster, books, sku)).length === 12, 60_000);
    expect(firsts(await told(cluster, books, sku))).toEqual(UP_TO(12));
  }
});

test("a message that is never handled is put aside after ten attempts, and those behind it go on", async () => {
  const cluster = await open(6);
  await sellAll(cluster, ["poison", "pen"], 3);
  await cluster.until(async () => (await told(cluster, books, "pen")).length === 3);
  expect(await told(cluster, books, "poison")).toEqual([0]);
  await cluster.until(async () => (await told(cluster, books, "poison")).length === 2, 180_000);
  expect(await told(cluster, books, "poison")).toEqual([0, 2]);
  const given = cluster.log().filter((line) => line.includes("topic.message-given-up"));
  expect(given).toHaveLength(1);
  expect(given[0]).toContain("topics/sold/dead/books/");
});

test("messages wait for a slice that does not run; one that goes leaves those of the others", async () => {
  const cluster = await open(7);
  await cluster.apply({ name: "more", slices: { stock: { artifact: "test:stock@^1.0.0" } } });
  const { till: tillWanted } = SLICES;
  await cluster.apply({
    name: "shop", slices: { till: tillWanted, books: { artifact: "test:books:1.0.0", instances: 0 } },
  });
  await sellAll(cluster, ["pen"], 5);
  await cluster.until(async () => (await told(cluster, stock, "pen")).length === 5);
  await cluster.apply({ name: "more", slices: {} });
  await sellAll(cluster, ["ink"], 2);
  await cluster.apply({ name: "shop", slices: { till: tillWanted, books: { artifact: "test:books:1.1.0" } } });
  await cluster.until(async () => (await told(cluster, books, "ink")).length === 2);
  await cluster.until(async () => (await told(cluster, books, "pen")).length === 5);
  expect(await told(cluster, books, "pen")).toEqual(UP_TO(5));
});

test("a payload that the topic does not allow is refused to its publisher", async () => {
  const cluster = await open(8);
  const loose = inlineSlice({
    artifact: "test:loose:1.0.0",
    create: () => defineSlice({
      contract: defineContract("loose", { say: method({ input: z.any(), output: z.object({}) }) }),
      methods: { say: async (input, ctx) => (await ctx.publish(sold, input as { sku: string; n: number }), {}) },
    }),
  });
  await cluster.push(loose);
  await cluster.apply({ name: "loose", slices: { loose: { artifact: "test:loose:1.0.0" } } });
  const client = cluster.slice(defineContract("loose", { say: method({ input: z.any(), output: z.object({}) }) }));
  await expect(client.say({ sku: 7 })).rejects.toMatchObject({ details: { code: "E_INVALID" } });
  await expect(client.say({ sku: "x".repeat(300), n: 1 })).rejects.toMatchObject({ details: { code: "E_TOO_LARGE" } });
});

test.each([11, 12])("what a transaction publishes is heard exactly if it changed something (seed %i)", async (seed) => {
  const shop = defineContract("shop", {
    sellOnce: method({ input: z.object({ sku: z.string(), n: z.int() }), output: z.object({ isFirst: z.boolean() }) }),
    sold: method({ input: z.object({ sku: z.string() }), output: z.object({ count: z.int() }), effect: "read" }),
  });
  const shopSlice = inlineSlice({
    artifact: "test:shop:1.0.0",
    create: () => defineSlice({
      contract: shop,
      methods: {
        sellOnce: async ({ sku, n }, ctx) => {
          const key = `sold/${sku}/${n}`;
          const { succeeded } = await ctx.kv.transact({
            compare: [{ key, target: "exists", op: "=", value: false }],
            then: [{ kind: "put", key, value: n }],
            publish: [messageOf(sold, { sku, n })],
          });
          return { isFirst: succeeded };
        },
        sold: async ({ sku }, ctx) => ({ count: (await ctx.kv.list({ prefix: `sold/${sku}/` })).entries.length }),
      },
    }),
  });
  const cluster = await createTestCluster({
    nodes: 3, seed, time: "virtual", slices: [shopSlice, listener(books)],
    blueprint: { name: "shop", slices: { shop: { artifact: "test:shop:1.0.0", instances: 2 }, books: SLICES.books } },
  });
  onTestFinished(() => cluster.close());
  const sellingAll = UP_TO(10).map(async (n) => {
    for (const _try of UP_TO(3)) {
      try {
        await cluster.slice(shop).sellOnce({ sku: "pen", n });
      } catch {
        // ignored: sold or not, it is heard accordingly.
        await cluster.advance(50);
      }
    }
  });
  await cluster.advance(5);
  cluster.kill("n2");
  await Promise.all(sellingAll);
  await cluster.start("n2");
  const countOf = async (): Promise<number | undefined> => {
    try {
      return (await cluster.slice(shop).sold({ sku: "pen" })).count;
    } catch {
      // ignored: asked again.
      return undefined;
    }
  };
  await cluster.until(async () => {
    const heardOf = new Set(await told(cluster, books, "pen")).size;
    return heardOf > 0 && heardOf === await countOf();
  });
  await cluster.advance(5_000);
  expect(new Set(await told(cluster, books, "pen")).size).toBe(await countOf());
});
