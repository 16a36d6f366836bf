// Owns: what orders promises to its callers: the shop's front door.
import { defineContract, method } from "aether/slice";
import { z } from "zod";

const wish = z.object({ sku: z.string().min(1), quantity: z.int().min(1).max(100).default(1) });

export const orders = defineContract("orders", {
  /** What an order would cost now. Changes nothing. */
  preview: method({
    input: wish,
    output: z.object({ totalCents: z.int(), currency: z.string(), isScarce: z.boolean() }),
    effect: "read",
  }),
  /** Places an order. A write: when its answer is lost, the runtime does not place it a second time. */
  place: method({
    input: wish,
    output: z.discriminatedUnion("status", [
      z.object({ status: z.literal("placed"), orderId: z.string(), totalCents: z.int(), currency: z.string() }),
      z.object({ status: z.literal("out-of-stock"), available: z.int().min(0) }),
    ]),
  }),
});
