// Owns: many jobs as a client sees and drives them: listing them, and doing the same to all of a filter.
// Does not own: one job (agent-client.ts).
import { z } from "zod";
import { SECOND_MS } from "../base/units.ts";
import { KV_TIMEOUT_MS } from "../api/limits.ts";
import { stateSchema, type JobCallOptions, type JobState } from "./agent-client.ts";
import { askApi } from "./api-request.ts";
import type { Multiplexer } from "./multiplexer.ts";

/** All of them have to hold. */
export interface JobFilter {
  readonly agent?: string;
  readonly status?: JobState["status"];
  /** Jobs that wait for this, such as `unknown`, `approval` or `budget`. */
  readonly waiting?: string;
  /** Jobs that run this version of their package, as `group:name@version`. */
  readonly artifact?: string;
  /** Jobs that this one has started. */
  readonly parent?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  /** Started at this time or later. */
  readonly createdAfter?: Date;
  readonly createdBefore?: Date;
}

export interface JobPlace {
  /** 1 to 1,000; of a bulk request 500 at most. */
  readonly limit?: number;
  /** Where to go on: `next` of the answer before. */
  readonly after?: string;
  /** Only jobs that were there at this revision of the store: `revision` of the first answer. */
  readonly upTo?: number;
}

export interface JobOrder {
  /** By their ids, which begin with the time of the start unless they were given. Default: the newest first. */
  readonly order?: "newest" | "oldest";
}

export interface JobPage {
  readonly jobs: readonly JobState[];
  readonly more: boolean;
  readonly next?: string | undefined;
  readonly revision: number;
}

/** What is done to each job, see `POST /v1/jobs/bulk`. */
export type JobBulkAction =
  | { readonly kind: "cancel" | "release" }
  | { readonly kind: "signal"; readonly name: string; readonly payload?: unknown; readonly idempotencyKey?: string }
  | { readonly kind: "retry"; readonly code?: "same" | "current"; readonly again?: readonly string[] }
  | { readonly kind: "move"; readonly artifact: string }
  | {
    readonly kind: "resolve";
    /** Only calls of this tool. */
    readonly tool?: string;
    readonly resolution:
      | { readonly kind: "done"; readonly result?: unknown }
      | { readonly kind: "not-done" }
      | { readonly kind: "given-up"; readonly reason: string };
  };

export interface JobBulk extends JobFilter, JobPlace {
  readonly action: JobBulkAction;
  /** Says to which jobs it would be done, and does nothing. */
  readonly dryRun?: boolean;
}

export interface JobBulkAnswer {
  /** Jobs to which it was done, or would be. */
  readonly jobs: readonly string[];
  /** Jobs of the filter that it does not concern, or that have it already. */
  readonly skipped: number;
  readonly failed: readonly { readonly job: string; readonly code: string; readonly message: string }[];
  /** Of a retry: the new jobs. */
  readonly made?: readonly { readonly job: string; readonly of: string }[] | undefined;
  readonly more: boolean;
  readonly next?: string | undefined;
  readonly revision: number;
}

export interface JobsClient {
  /** One page, in the order of ids. */
  list(query?: JobFilter & JobPlace & JobOrder, options?: JobCallOptions): Promise<JobPage>;
  /**
   * Does the same to all jobs of a filter, to each on its own: one page, and with `more` ask again with `after: next`
   * and `upTo: revision`. Asked again it does nothing to jobs that have it; only signals need a key for that.
   */
  bulk(bulk: JobBulk, options?: JobCallOptions): Promise<JobBulkAnswer>;
}

/** Of one page; each job that is moved is replayed. */
const BULK_TIMEOUT_MS = 60 * SECOND_MS;

const place = { more: z.boolean(), next: z.string().optional(), revision: z.number() };
const pageSchema: z.ZodType<JobPage> = z.object({ jobs: z.array(stateSchema), ...place });
const bulkSchema: z.ZodType<JobBulkAnswer> = z.object({
  jobs: z.array(z.string()),
  skipped: z.number(),
  failed: z.array(z.object({ job: z.string(), code: z.string(), message: z.string() })),
  made: z.array(z.object({ job: z.string(), of: z.string() })).optional(),
  ...place,
});

export function createJobsClient(requests: Multiplexer): JobsClient {
  return {
    list: async ({ attributes = {}, ...query } = {}, { timeoutMs = KV_TIMEOUT_MS, signal } = {}) => {
      const text = new URLSearchParams();
      for (const [name, value] of Object.entries(sent(query))) text.append(name, String(value));
      for (const [name, value] of Object.entries(attributes)) text.append("attribute", `${name}=${value}`);
      const path = `/v1/jobs?${text.toString()}`;
      const call = { what: "list jobs", effect: "read", method: "GET", path, timeoutMs, signal } as const;
      return (await askApi(requests, pageSchema, call)).value;
    },
    bulk: async (bulk, { timeoutMs = BULK_TIMEOUT_MS, signal } = {}) => {
      const what = `${bulk.action.kind} many jobs`;
      // A signal without a key would be sent twice.
      const isRepeatable = bulk.action.kind !== "signal" || bulk.action.idempotencyKey !== undefined;
      const effect = isRepeatable || bulk.dryRun === true ? "idempotent" : "write";
      const call = { what, effect, method: "POST", path: "/v1/jobs/bulk", timeoutMs, signal } as const;
      return (await askApi(requests, bulkSchema, { ...call, body: sent(bulk) })).value;
    },
  };
}

function sent(
  { createdAfter, createdBefore, ...rest }: Omit<JobFilter, "attributes"> & JobPlace,
): Readonly<Record<string, unknown>> {
  return {
    ...rest,
    ...(createdAfter !== undefined && { createdAfter: createdAfter.getTime() }),
    ...(createdBefore !== undefined && { createdBefore: createdBefore.getTime() }),
  };
}
