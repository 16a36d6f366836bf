// Owns: what notifications promises to its callers. Nobody calls `notify` but the topic.
import { defineContract, method } from "aether/slice";
import { z } from "zod";
import { orderChanged } from "./topics.ts";

export const notifications = defineContract("notifications", {
  notify: method({ input: orderChanged.payload, output: z.object({}), effect: "idempotent" }),
  sent: method({ input: z.object({}), output: z.object({ texts: z.array(z.string()) }), effect: "read" }),
});
