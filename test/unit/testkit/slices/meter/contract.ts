// Owns: what a slice can find out about the world that it runs in.
import { defineContract, method } from "aether/slice";
import { z } from "zod";

export const meter = defineContract("meter", {
  /** How long waits of that many milliseconds take: by Date, by performance, in several ways of waiting. */
  wait: method({
    input: z.object({ delayMs: z.int() }),
    output: z.object({ timeoutMs: z.number(), promiseMs: z.number(), ticks: z.int() }),
    effect: "read",
  }),
  /** Never answers. */
  hang: method({ input: z.object({}), output: z.object({}), effect: "read", timeoutMs: 3_600_000 }),
  look: method({
    input: z.object({}),
    output: z.object({ random: z.number(), year: z.int(), variables: z.array(z.string()), config: z.string() }),
    effect: "read",
  }),
  /** Counts in the memory of the module. */
  count: method({ input: z.object({}), output: z.object({ count: z.int() }) }),
  /** Ends the instance: by an error that nobody catches, or by leaving. */
  end: method({ input: z.object({ how: z.enum(["throw", "exit"]) }), output: z.object({}) }),
  say: method({ input: z.object({ text: z.string() }), output: z.object({}), effect: "read" }),
  reach: method({ input: z.object({}), output: z.object({ code: z.string() }), effect: "read" }),
});
