// Owns: telling many jobs the same: those of a listing's filter, a page of them at a time. Each of them is told as it
// would be alone; one that cannot be told does not stop the others. Does not own: listing and telling (the port).
import { toAetherError } from "../../base/errors.ts";
import type { JobId } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import { hasEnded } from "../core/life/job-life.ts";
import type { Caller, JobFilter, Jobs } from "../ports.ts";

/** Jobs that one request looks at. */
export const BULK_JOBS_MAX = 500;
const TOLD_AT_ONCE = 32;

export type BulkAction =
  | { readonly kind: "cancel" }
  | {
    readonly kind: "signal";
    readonly name: string;
    readonly payload: unknown;
    /** Of each job: the same key again is the same signal. */
    readonly idempotencyKey?: string;
  };

export interface BulkRequest {
  readonly action: BulkAction;
  readonly filter: JobFilter;
  readonly limit?: number;
  readonly after?: JobId;
  /** Says what would be told, and tells nothing. */
  readonly isDryRun: boolean;
}

export interface BulkAnswer {
  /** Jobs that were told, or would be. */
  readonly told: number;
  /** Jobs that had ended. */
  readonly ended: number;
  readonly failed: readonly { readonly job: JobId; readonly code: string; readonly message: string }[];
  /** Those that were told, or would be. */
  readonly jobs: readonly JobId[];
  readonly more: boolean;
  /** Where to go on. */
  readonly next?: JobId;
}

type Outcome =
  | { readonly kind: "told" }
  | { readonly kind: "ended" }
  | { readonly kind: "failed"; readonly code: string; readonly message: string };

export async function tellMany(
  jobs: Pick<Jobs, "list" | "cancel" | "signal">,
  { action, filter, limit = BULK_JOBS_MAX, after, isDryRun }: BulkRequest,
  caller: Caller,
  options: CallOptions = {},
): Promise<BulkAnswer> {
  const query = { ...filter, limit, ...(after !== undefined && { after }) };
  const page = await jobs.list(query, options);
  const told: JobId[] = [];
  const failed: BulkAnswer["failed"][number][] = [];
  let ended = 0;
  for (let at = 0; at < page.jobs.length; at += TOLD_AT_ONCE) {
    const some = page.jobs.slice(at, at + TOLD_AT_ONCE);
    const outcomes = await Promise.all(some.map(async ({ job, row }): Promise<Outcome> => {
      if (hasEnded(row.status)) return { kind: "ended" };
      return isDryRun ? { kind: "told" } : await tell(jobs, { job, action }, caller, options);
    }));
    for (const [index, outcome] of outcomes.entries()) {
      const job = some[index]?.job;
      if (outcome.kind === "ended" || job === undefined) ended += 1;
      else if (outcome.kind === "told") told.push(job);
      else failed.push({ job, code: outcome.code, message: outcome.message });
    }
  }
  const { more, next = page.jobs.at(-1)?.job } = page;
  return { told: told.length, ended, failed, jobs: told, more, ...(more && next !== undefined && { next }) };
}

async function tell(
  jobs: Pick<Jobs, "cancel" | "signal">,
  { job, action }: { readonly job: JobId; readonly action: BulkAction },
  caller: Caller,
  options: CallOptions,
): Promise<Outcome> {
  try {
    if (action.kind === "cancel") await jobs.cancel(job, caller, options);
    else await jobs.signal(job, action, caller, options);
    return { kind: "told" };
  } catch (thrown) {
    options.signal?.throwIfAborted();
    const { code, message } = toAetherError(thrown);
    return code === "E_CONFLICT" ? { kind: "ended" } : { kind: "failed", code, message };
  }
}
