// Owns: placing orders: asks for the price, sets the goods aside, answers the customer.
import { randomUUID } from "node:crypto";
import { defineSlice } from "aether/slice";
import { z } from "zod";
import { inventory } from "../contracts/inventory.ts";
import { orders } from "../contracts/orders.ts";
import { pricing } from "../contracts/pricing.ts";

export default defineSlice({
  contract: orders,
  uses: { pricing, inventory },
  routes: {
    "GET /shop/prices/:sku": "preview",
    "POST /shop/orders": "place",
  },
  config: z.object({ currency: z.string().length(3).default("EUR") }),
  methods: {
    preview: async ({ sku, quantity }, ctx) => {
      const { totalCents, isScarce } = await ctx.uses.pricing.quote({ sku, quantity });
      return { totalCents, isScarce, currency: ctx.config.currency };
    },

    place: async ({ sku, quantity }, ctx) => {
      const { totalCents } = await ctx.uses.pricing.quote({ sku, quantity });
      const orderId = randomUUID();
      const { isReserved, available } = await ctx.uses.inventory.reserve({ orderId, sku, quantity });
      if (!isReserved) return { status: "out-of-stock", available };
      ctx.log.info("order placed", { orderId, totalCents });
      return { status: "placed", orderId, totalCents, currency: ctx.config.currency };
    },
  },
});
