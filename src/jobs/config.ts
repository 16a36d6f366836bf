// Owns: the limits of jobs that an operator may change, and their defaults.
import { z } from "zod";

export const JobsConfig = z.strictObject({
  pendingMax: z.int().min(1).max(1_000_000).default(10_000)
    .describe("Jobs that may wait for a node; beyond that new ones are refused with E_OVERLOADED."),
});
export type JobsConfig = z.output<typeof JobsConfig>;
