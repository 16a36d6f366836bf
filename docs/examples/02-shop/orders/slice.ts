// Owns: orders, from the price to the parcel. They are in the store, so any instance can answer for any order.
import { randomUUID } from "node:crypto";
import { defineSlice, type SliceCompare, type SliceEntry, type SliceKv } from "aether/slice";
import { z } from "zod";
import { inventory } from "../contracts/inventory.ts";
import { order, orders } from "../contracts/orders.ts";
import { pricing } from "../contracts/pricing.ts";
import { orderChanged } from "../contracts/topics.ts";

type Order = z.output<typeof order>;

/** More open orders than this are as many as this to the price. */
const DEMAND_MAX = 100;

export default defineSlice({
  contract: orders,
  uses: { pricing, inventory },
  routes: {
    "GET /shop/prices/:sku": "preview",
    "POST /shop/orders": "place",
    "GET /shop/orders": "list",
    "GET /shop/orders/:id": "show",
    "POST /shop/orders/:id/cancel": "cancel",
  },
  config: z.object({ currency: z.string().length(3).default("EUR") }),
  methods: {
    preview: async (wish, ctx) => {
      const { totalCents } = await ctx.uses.pricing.quote(wish);
      return { totalCents, currency: ctx.config.currency };
    },

    place: async ({ sku, quantity }, ctx) => {
      const { totalCents } = await ctx.uses.pricing.quote({ sku, quantity });
      const id = randomUUID();
      const { isReserved, available } = await ctx.uses.inventory.reserve({ orderId: id, sku, quantity });
      if (!isReserved) return { status: "out-of-stock", available };
      const placed: Order = { id, sku, quantity, totalCents, status: "placed" };
      await ctx.kv.transact({
        compare: [],
        then: [{ kind: "put", key: orderKey(id), value: placed }, { kind: "put", key: openKey(placed), value: true }],
      });
      await ctx.publish(orderChanged, { id, status: "placed", totalCents });
      return { status: "placed", id, totalCents, currency: ctx.config.currency };
    },

    show: async ({ id }, ctx) => ({ order: parse(await ctx.kv.get(orderKey(id))) }),

    list: async ({ limit }, ctx) => {
      const { entries } = await ctx.kv.list({ prefix: "orders/", limit });
      return { orders: entries.map(({ value }) => order.parse(value)) };
    },

    cancel: async ({ id }, ctx) => {
      const cancelled = await close(ctx.kv, id, "cancelled");
      // Also when it was cancelled before: perhaps what follows was not done then.
      if (cancelled?.status === "cancelled") {
        await ctx.uses.inventory.release({ orderId: id });
        await ctx.publish(orderChanged, { id, status: "cancelled", totalCents: cancelled.totalCents });
      }
      return { order: cancelled };
    },

    ship: async ({ id }, ctx) => ({ order: await close(ctx.kv, id, "shipped") }),

    demand: async ({ sku }, ctx) => {
      const query = { prefix: `open/${sku}/`, limit: DEMAND_MAX };
      // A price need not know the very last order: no round trip for it.
      const { entries } = await ctx.kv.list(query, { consistency: "local" });
      return { open: entries.length };
    },
  },
});

/** What is open can be closed once; what was closed stays as it was. */
async function close(kv: SliceKv, id: string, status: "cancelled" | "shipped"): Promise<Order | null> {
  for (;;) {
    const entry = await kv.get(orderKey(id));
    const found = parse(entry);
    if (found?.status !== "placed") return found;
    const closed: Order = { ...found, status };
    const isSame: SliceCompare = {
      key: orderKey(id), target: "modRevision", op: "=", value: entry?.modRevision ?? 0,
    };
    const { succeeded } = await kv.transact({
      compare: [isSame],
      then: [{ kind: "put", key: orderKey(id), value: closed }, { kind: "delete", key: openKey(found) }],
    });
    if (succeeded) return closed;
  }
}

function orderKey(id: string): string {
  return `orders/${id}`;
}

function openKey({ sku, id }: Pick<Order, "sku" | "id">): string {
  return `open/${sku}/${id}`;
}

function parse(entry: SliceEntry | undefined): Order | null {
  return entry === undefined ? null : order.parse(entry.value);
}
