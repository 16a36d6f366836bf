// Owns: what the inventory promises to its callers.
import { defineContract, method } from "aether/slice";
import { z } from "zod";
import { sku } from "./article.ts";

const left = z.object({ available: z.int().min(0) });

export const inventory = defineContract("inventory", {
  levels: method({ input: z.object({ sku }), output: left, effect: "read" }),
  /** Sets units aside for an order. The same order again changes nothing, so it may be tried again. */
  reserve: method({
    input: z.object({ orderId: z.string(), sku, quantity: z.int().min(1) }),
    output: left.extend({ isReserved: z.boolean() }),
    effect: "idempotent",
  }),
  /** Gives back what an order had. */
  release: method({ input: z.object({ orderId: z.string() }), output: z.object({}), effect: "idempotent" }),
  /** Makes the stock what was delivered less what is reserved. */
  recount: method({
    input: z.object({}), output: z.object({ corrected: z.array(z.string()) }), effect: "idempotent",
  }),
});
