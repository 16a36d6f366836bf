// Owns: what the slices of this benchmark promise: an echo, beside its caller and on the other node, and who calls it.
import { defineContract, method } from "aether/slice";
import { z } from "zod";

const echo = method({ input: z.object({ text: z.string() }), output: z.object({ text: z.string() }), effect: "read" });

export const near = defineContract("near", { echo });
export const far = defineContract("far", { echo });

export const driver = defineContract("driver", {
  drive: method({
    input: z.object({
      target: z.enum(["near", "far"]),
      text: z.string(),
      clients: z.int().min(1),
      warmUpMs: z.number(),
      measureMs: z.number(),
    }),
    output: z.object({
      clients: z.number(),
      perSecond: z.number(),
      p50Ms: z.number(),
      p99Ms: z.number(),
      failed: z.number(),
    }),
    effect: "read",
    timeoutMs: 600_000,
  }),
});
