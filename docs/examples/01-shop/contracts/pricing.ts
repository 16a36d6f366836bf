// Owns: what pricing promises to its callers.
import { defineContract, method } from "aether/slice";
import { z } from "zod";

export const pricing = defineContract("pricing", {
  /** The price of some units of an article, in cents. Scarce articles cost more. */
  quote: method({
    input: z.object({ sku: z.string(), quantity: z.int().min(1).default(1) }),
    output: z.object({ unitCents: z.int(), totalCents: z.int(), isScarce: z.boolean() }),
    effect: "read",
    timeoutMs: 5_000,
  }),
});
