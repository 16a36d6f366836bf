// Slices of which one calls another in its start(), on a simulated cluster.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { defineContract, defineSlice, method } from "../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestSlice } from "../../src/testkit/index.ts";

const stock = defineContract("stock", {
  count: method({ input: z.object({}), output: z.object({ pieces: z.int() }), effect: "read" }),
});
const orders = defineContract("orders", {
  pieces: method({ input: z.object({}), output: z.object({ pieces: z.int() }), effect: "read" }),
});

test("a slice that is loaded after another one starts when that one serves, also after a node died", async () => {
  const events: string[] = [];
  const cluster = await createTestCluster({
    nodes: 3, seed: 7, time: "virtual", slices: [createStock(events), createOrders(events)],
    blueprint: {
      name: "shop",
      slices: {
        orders: { artifact: "test:orders:1.0.0", instances: 2 },
        stock: { artifact: "test:stock:1.0.0", instances: 1 },
      },
    },
  });
  onTestFinished(() => cluster.close());
  expect(events).toEqual(["stock starts", "stock serves", "orders starts", "orders starts"]);
  expect(await cluster.slice(orders).pieces({})).toEqual({ pieces: 5 });

  events.length = 0;
  const [instance] = await cluster.instances("stock");
  cluster.kill(instance?.node ?? "");
  await cluster.until(async () => {
    const all = [...(await cluster.instances("stock")), ...(await cluster.instances("orders"))];
    return all.length === 3 && all.every(({ node, state }) => state === "ACTIVE" && node !== instance?.node);
  }, 60_000);
  expect(events.slice(0, 2)).toEqual(["stock starts", "stock serves"]);
});

/** Takes its time: two seconds, in which others must not have begun. */
function createStock(events: string[]): TestSlice {
  return inlineSlice({
    artifact: "test:stock:1.0.0",
    create: ({ sleep }) => defineSlice({
      contract: stock,
      start: async () => {
        events.push("stock starts");
        await sleep(2_000);
        events.push("stock serves");
      },
      methods: { count: () => ({ pieces: 5 }) },
    }),
  });
}

function createOrders(events: string[]): TestSlice {
  return inlineSlice({
    artifact: "test:orders:1.0.0",
    create: () => {
      let pieces = 0;
      return defineSlice({
        contract: orders,
        uses: { stock },
        loadAfter: ["stock"],
        start: async (ctx) => {
          events.push("orders starts");
          pieces = (await ctx.uses.stock.count({})).pieces;
        },
        methods: { pieces: () => ({ pieces }) },
      });
    },
  });
}
