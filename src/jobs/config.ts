// Owns: the limits of jobs as settings, and their defaults.
import { z } from "zod";
import { HOUR_MS } from "../base/units.ts";
import { limitsSchema } from "../sdk/llm/terms.ts";
import { UNLIMITED_JOBS } from "./core/flow/permits.ts";
import { webhooksSchema } from "./webhooks/webhook.ts";

const DAY_MS = 24 * HOUR_MS;
const YEAR_MS = 365 * DAY_MS;

export const JOBS_PENDING_MAX = 10_000;

export const JobsConfig = z.strictObject({
  pendingMax: z.int().min(1).max(1_000_000).default(JOBS_PENDING_MAX)
    .describe("Jobs that may wait for a node; beyond that new ones are refused with E_OVERLOADED."),
  runningMax: z.int().min(1).max(UNLIMITED_JOBS).default(UNLIMITED_JOBS)
    .describe("Jobs of the whole cluster that run at once; the default is no limit. Equal on all nodes."),
  tenantRunningMax: z.int().min(1).max(UNLIMITED_JOBS).default(UNLIMITED_JOBS)
    .describe("Jobs of each tenant that run at once in the cluster; the default is no limit. Equal on all nodes."),
  models: z.record(z.string().min(1), limitsSchema).default({})
    .describe("What the whole cluster asks of a model, by the model's name, as requestsPerMinute, tokensPerMinute " +
      "and maxConcurrent (requests under way at once); goes before what agents say of it. Equal on all nodes."),
  keepMs: z.int().min(1_000).max(100 * YEAR_MS).default(90 * DAY_MS)
    .describe("How long the log of a job that has ended is kept, with its input and the calls of its tools."),
  keepOutcomeMs: z.int().min(1_000).max(100 * YEAR_MS).default(YEAR_MS)
    .describe("How long after its end a job's outcome is kept, with its id and idempotency key; at least `keepMs`."),
  archive: z.string().min(1).exactOptional()
    .describe("Directory that gets the log of a job, as aether job export writes it, before it is taken away; of the " +
      "node that leads then, so a shared one, or one on each node. Default: logs are not archived."),
  webhooks: webhooksSchema.default([])
    .describe("Addresses that are told when a job asks a person, ends, or needs somebody to look: a list of " +
      "`{ name, url, events?, agents?, secret }`. Equal on all nodes."),
});
export type JobsConfig = z.output<typeof JobsConfig>;
