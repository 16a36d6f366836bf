// Owns: what pricing promises to its callers.
import { defineContract, method } from "aether/slice";
import { z } from "zod";
import { sku } from "./article.ts";

export const pricing = defineContract("pricing", {
  /** The price of some units of an article, in cents. What many want costs more. */
  quote: method({
    input: z.object({ sku, quantity: z.int().min(1).default(1) }),
    output: z.object({ unitCents: z.int(), totalCents: z.int() }),
    effect: "read",
  }),
});
