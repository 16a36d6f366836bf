// Owns: the limits of jobs as settings, and their defaults.
import { z } from "zod";

export const JOBS_PENDING_MAX = 10_000;

export const JobsConfig = z.strictObject({
  pendingMax: z.int().min(1).max(1_000_000).default(JOBS_PENDING_MAX)
    .describe("Jobs that may wait for a node; beyond that new ones are refused with E_OVERLOADED."),
});
export type JobsConfig = z.output<typeof JobsConfig>;
