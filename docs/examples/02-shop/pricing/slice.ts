// Owns: prices. What many want costs more, so it asks the orders, which ask it: calls may be mutual.
import { defineSlice } from "aether/slice";
import { z } from "zod";
import { orders } from "../contracts/orders.ts";
import { pricing } from "../contracts/pricing.ts";

export default defineSlice({
  contract: pricing,
  uses: { orders },
  config: z.object({
    unitCents: z.record(z.string(), z.int().min(0)).default({}),
    /** For articles without a price of their own. */
    defaultUnitCents: z.int().min(0).default(1_000),
    /** From so many open orders on an article is in demand. */
    demandFrom: z.int().min(1).default(3),
    demandSurchargePercent: z.int().min(0).default(20),
  }),
  methods: {
    quote: async ({ sku, quantity }, ctx) => {
      const { config } = ctx;
      const { open } = await ctx.uses.orders.demand({ sku });
      const baseCents = config.unitCents[sku] ?? config.defaultUnitCents;
      const percent = open < config.demandFrom ? 100 : 100 + config.demandSurchargePercent;
      const unitCents = Math.round((baseCents * percent) / 100);
      return { unitCents, totalCents: unitCents * quantity };
    },
  },
});
