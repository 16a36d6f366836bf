// Owns: prices. What is scarce costs more, so it asks the inventory.
import { defineSlice } from "aether/slice";
import { z } from "zod";
import { inventory } from "../contracts/inventory.ts";
import { pricing } from "../contracts/pricing.ts";

export default defineSlice({
  contract: pricing,
  uses: { inventory },
  config: z.object({
    unitCents: z.record(z.string(), z.int().min(0)).default({}),
    /** For articles without a price of their own. */
    defaultUnitCents: z.int().min(0).default(1_000),
    scarceBelow: z.int().min(0).default(5),
    scarceSurchargePercent: z.int().min(0).default(20),
  }),
  methods: {
    quote: async ({ sku, quantity }, ctx) => {
      const { config } = ctx;
      const { available } = await ctx.uses.inventory.levels({ sku });
      const isScarce = available < config.scarceBelow;
      const baseCents = config.unitCents[sku] ?? config.defaultUnitCents;
      const unitCents = isScarce ? Math.round((baseCents * (100 + config.scarceSurchargePercent)) / 100) : baseCents;
      return { unitCents, totalCents: unitCents * quantity, isScarce };
    },
  },
});
