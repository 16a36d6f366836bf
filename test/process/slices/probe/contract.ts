// Owns: a slice that says where it runs, and dies when it is told to.
import { defineContract, method } from "aether/slice";
import { z } from "zod";

export const probe = defineContract("probe", {
  /** The process that answers. */
  where: method({ input: z.object({}), output: z.object({ pid: z.int() }), effect: "read" }),
  /** Waits, so that a call can be under way when something happens. */
  linger: method({ input: z.object({ ms: z.int() }), output: z.object({ pid: z.int() }), effect: "read" }),
  /** The same, but it must not run twice. */
  change: method({ input: z.object({ ms: z.int() }), output: z.object({ pid: z.int() }), effect: "write" }),
  fail: method({ input: z.object({ message: z.string() }), output: z.object({}) }),
  exit: method({ input: z.object({}), output: z.object({}) }),
  spin: method({ input: z.object({}), output: z.object({}), timeoutMs: 1_000 }),
});
