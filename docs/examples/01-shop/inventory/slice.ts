// Owns: the stock. Kept in the memory of each instance, which is enough for an example: every instance starts with
// the stock of its config and knows its own reservations only.
import { defineSlice } from "aether/slice";
import { z } from "zod";
import { inventory } from "../contracts/inventory.ts";

interface Reservation {
  readonly sku: string;
  readonly quantity: number;
}

const reservations = new Map<string, Reservation>();

function available(stock: Readonly<Record<string, number>>, sku: string): number {
  let reserved = 0;
  for (const reservation of reservations.values()) {
    if (reservation.sku === sku) reserved += reservation.quantity;
  }
  return Math.max(0, (stock[sku] ?? 0) - reserved);
}

export default defineSlice({
  contract: inventory,
  config: z.object({ stock: z.record(z.string(), z.int().min(0)).default({}) }),
  start: (ctx) => ctx.log.info("stock loaded", { articles: Object.keys(ctx.config.stock).length }),
  methods: {
    levels: ({ sku }, ctx) => ({ sku, available: available(ctx.config.stock, sku) }),

    reserve: ({ orderId, sku, quantity }, ctx) => {
      const left = available(ctx.config.stock, sku);
      if (reservations.has(orderId)) return { isReserved: true, available: left };
      if (left < quantity) return { isReserved: false, available: left };
      reservations.set(orderId, { sku, quantity });
      return { isReserved: true, available: left - quantity };
    },
  },
});
