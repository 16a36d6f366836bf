// Owns: what happens in the shop that others may want to know.
import { defineTopic } from "aether/slice";
import { z } from "zod";

/** An order was placed or cancelled. What happens to one order is told in its order. */
export const orderChanged = defineTopic("order-changed", {
  payload: z.object({ id: z.string(), status: z.enum(["placed", "cancelled"]), totalCents: z.int() }),
  key: ({ id }) => id,
});
