// Owns: the limits of jobs as settings, and their defaults.
import { z } from "zod";
import { UNLIMITED_JOBS } from "./core/flow/permits.ts";

export const JOBS_PENDING_MAX = 10_000;

export const JobsConfig = z.strictObject({
  pendingMax: z.int().min(1).max(1_000_000).default(JOBS_PENDING_MAX)
    .describe("Jobs that may wait for a node; beyond that new ones are refused with E_OVERLOADED."),
  runningMax: z.int().min(1).max(UNLIMITED_JOBS).default(UNLIMITED_JOBS)
    .describe("Jobs of the whole cluster that run at once; the default is no limit. Equal on all nodes."),
  tenantRunningMax: z.int().min(1).max(UNLIMITED_JOBS).default(UNLIMITED_JOBS)
    .describe("Jobs of each tenant that run at once in the cluster; the default is no limit. Equal on all nodes."),
});
export type JobsConfig = z.output<typeof JobsConfig>;
