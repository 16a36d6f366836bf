// Owns: the stock. It is in the store: all instances see the same, and it outlives them.
import { defineSlice, type SliceCompare, type SliceEntry, type SliceKv } from "aether/slice";
import { z } from "zod";
import { inventory } from "../contracts/inventory.ts";

const Reservation = z.object({ sku: z.string(), quantity: z.int() });
const Left = z.int().min(0);

export default defineSlice({
  contract: inventory,
  schedules: { count: { cron: "* * * * *", method: "recount" } },
  config: z.object({ delivered: z.record(z.string(), z.int().min(0)).default({}) }),
  methods: {
    levels: async ({ sku }, ctx) => ({ available: left(await ctx.kv.get(stockKey(sku)), ctx.config.delivered[sku]) }),

    reserve: async ({ orderId, sku, quantity }, ctx) => {
      for (;;) {
        const [stock, reservation] = await Promise.all([
          ctx.kv.get(stockKey(sku)), ctx.kv.get(reservationKey(orderId)),
        ]);
        const available = left(stock, ctx.config.delivered[sku]);
        if (reservation !== undefined) return { isReserved: true, available };
        if (available < quantity) return { isReserved: false, available };
        // Both or none, and only if nobody else was faster.
        const { succeeded } = await ctx.kv.transact({
          compare: [unchanged(stockKey(sku), stock), unchanged(reservationKey(orderId), reservation)],
          then: [
            { kind: "put", key: stockKey(sku), value: available - quantity },
            { kind: "put", key: reservationKey(orderId), value: { sku, quantity } },
          ],
        });
        if (succeeded) return { isReserved: true, available: available - quantity };
      }
    },

    release: async ({ orderId }, ctx) => {
      for (;;) {
        const reservation = await ctx.kv.get(reservationKey(orderId));
        if (reservation === undefined) return {};
        const { sku, quantity } = Reservation.parse(reservation.value);
        const stock = await ctx.kv.get(stockKey(sku));
        const { succeeded } = await ctx.kv.transact({
          compare: [unchanged(stockKey(sku), stock), unchanged(reservationKey(orderId), reservation)],
          then: [
            { kind: "put", key: stockKey(sku), value: left(stock, ctx.config.delivered[sku]) + quantity },
            { kind: "delete", key: reservationKey(orderId) },
          ],
        });
        if (succeeded) return {};
      }
    },

    recount: async (_input, ctx) => {
      // One instance counts at a time; one that is late writes nothing.
      const lease = await ctx.lease("recount", { waitMs: 5_000 });
      const corrected: string[] = [];
      for (const [sku, delivered] of Object.entries(ctx.config.delivered)) {
        if (await correct(lease.kv, sku, delivered)) corrected.push(sku);
      }
      ctx.log.info("stock counted", { corrected });
      return { corrected };
    },
  },
});

/** Whether the stock of an article was not what it should be. */
async function correct(kv: SliceKv, sku: string, delivered: number): Promise<boolean> {
  for (;;) {
    // Before the reservations: who reserves meanwhile changes it, and all is counted again.
    const stock = await kv.get(stockKey(sku));
    const reserved = await reservedUnits(kv, sku);
    const should = Math.max(0, delivered - reserved);
    if (left(stock, delivered) === should) return false;
    const { succeeded } = await kv.transact({
      compare: [unchanged(stockKey(sku), stock)],
      then: [{ kind: "put", key: stockKey(sku), value: should }],
    });
    if (succeeded) return true;
  }
}

async function reservedUnits(kv: SliceKv, sku: string): Promise<number> {
  let units = 0;
  let place: { readonly after?: string; readonly revision?: number } = {};
  for (;;) {
    const { entries, revision, more } = await kv.list({ prefix: "reservations/", ...place });
    for (const { value } of entries) {
      const reservation = Reservation.parse(value);
      if (reservation.sku === sku) units += reservation.quantity;
    }
    const last = entries.at(-1);
    if (!more || last === undefined) return units;
    place = { after: last.key, revision };
  }
}

function left(stock: SliceEntry | undefined, delivered = 0): number {
  return stock === undefined ? delivered : Left.parse(stock.value);
}

function unchanged(key: string, seen: SliceEntry | undefined): SliceCompare {
  return { key, target: "modRevision", op: "=", value: seen?.modRevision ?? 0 };
}

function stockKey(sku: string): string {
  return `stock/${sku}`;
}

function reservationKey(orderId: string): string {
  return `reservations/${orderId}`;
}
