// Owns: what the inventory promises to its callers.
import { defineContract, method } from "aether/slice";
import { z } from "zod";

export const inventory = defineContract("inventory", {
  /** What is left of one article. An unknown one has 0. */
  levels: method({
    input: z.object({ sku: z.string() }),
    output: z.object({ sku: z.string(), available: z.int().min(0) }),
    effect: "read",
    timeoutMs: 2_000,
  }),
  /** Sets units aside for an order. The same order again changes nothing, so it may be tried again. */
  reserve: method({
    input: z.object({ orderId: z.string(), sku: z.string(), quantity: z.int().min(1) }),
    output: z.object({ isReserved: z.boolean(), available: z.int().min(0) }),
    effect: "idempotent",
    timeoutMs: 2_000,
  }),
});
