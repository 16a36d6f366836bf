// Owns: doing the same to many jobs: those of a listing's filter that were there when it began, a page of them at a
// time. To each of them it is done as it would be alone; one for which it fails does not stop the others, and done
// again it does nothing to those that have it. Does not own: listing, and what is done (the port).
import { unreachable } from "../../base/assert.ts";
import { toAetherError, type AetherError } from "../../base/errors.ts";
import type { ArtifactId, JobId } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import { hasEnded } from "../core/life/job-life.ts";
import type { Resolution } from "../core/log/event.ts";
import type { ToolRow } from "../core/tools/tool-row.ts";
import type { Caller, JobFilter, JobListed, Jobs } from "../ports.ts";

/** Jobs that one request is about. */
export const BULK_JOBS_MAX = 500;
/** Of those that are moved: each log is replayed, and a node replays four at once. */
export const BULK_MOVES_MAX = 20;
const TOLD_AT_ONCE = 32;
const MOVED_AT_ONCE = 4;

export type BulkAction =
  | { readonly kind: "cancel" }
  /** Of those that are held since a restore, or are stuck. */
  | { readonly kind: "release" }
  | {
    readonly kind: "signal";
    readonly name: string;
    readonly payload: unknown;
    /** Of each job: the same key again is the same signal. */
    readonly idempotencyKey?: string;
  }
  /** Of those that failed or were cancelled, and were not done again. */
  | { readonly kind: "retry"; readonly code?: "same" | "current"; readonly again?: readonly string[] }
  | { readonly kind: "move"; readonly artifact: ArtifactId }
  /** All calls that nobody knows about; of this tool only, if one is named. */
  | { readonly kind: "resolve"; readonly tool?: string; readonly resolution: Resolution };

export interface BulkRequest {
  readonly action: BulkAction;
  readonly filter: JobFilter;
  readonly limit?: number;
  readonly after?: JobId;
  /** The store's revision when it began, as its first answer has it: later jobs are none of its business. */
  readonly upTo?: number;
  /** Says to which jobs it would be done, and does nothing. */
  readonly isDryRun: boolean;
  /** W3C trace context, which jobs that are made belong to. */
  readonly traceparent?: string;
}

export interface BulkAnswer {
  /** Jobs to which it was done, or would be. */
  readonly told: number;
  /** Jobs of the filter that it does not concern: they have ended, or have not, or it was done to them before. */
  readonly skipped: number;
  readonly failed: readonly { readonly job: JobId; readonly code: string; readonly message: string }[];
  /** Those to which it was done, or would be. */
  readonly jobs: readonly JobId[];
  /** Of a retry: the new jobs. */
  readonly made?: readonly { readonly job: JobId; readonly of: JobId }[];
  readonly more: boolean;
  /** Where to go on. */
  readonly next?: JobId;
  /** For `upTo`. */
  readonly revision: number;
}

type BulkJobs = Pick<Jobs, "list" | "show" | "cancel" | "release" | "signal" | "repeat" | "move" | "resolve">;

type Outcome =
  | { readonly kind: "told"; readonly made?: JobId }
  | { readonly kind: "skipped" }
  | { readonly kind: "failed"; readonly code: string; readonly message: string };

const TOLD: Outcome = { kind: "told" };
const SKIPPED: Outcome = { kind: "skipped" };

export async function tellMany(
  jobs: BulkJobs,
  { action, filter, limit, after, upTo, isDryRun, traceparent }: BulkRequest,
  caller: Caller,
  options: CallOptions = {},
): Promise<BulkAnswer> {
  const isMove = action.kind === "move";
  const page = await jobs.list({
    ...filter,
    limit: Math.min(limit ?? BULK_JOBS_MAX, isMove ? BULK_MOVES_MAX : BULK_JOBS_MAX),
    ...(after !== undefined && { after }),
    ...(upTo !== undefined && { upTo }),
  }, options);
  const teller = new Teller(jobs, action, { caller, isDryRun, traceparent, options });
  const outcomes = await inGroups(page.jobs, isMove ? MOVED_AT_ONCE : TOLD_AT_ONCE, (job) => teller.tell(job));
  const { more, next } = page;
  return {
    ...answerOf(page.jobs.map(({ job }, index) => ({ job, outcome: outcomes[index] ?? SKIPPED }))),
    more,
    ...(more && next !== undefined && { next }),
    revision: upTo ?? page.revision,
  };
}

class Teller {
  private readonly jobs: BulkJobs;
  private readonly action: BulkAction;
  private readonly how: Pick<BulkRequest, "isDryRun"> & {
    readonly caller: Caller;
    readonly traceparent: string | undefined;
    readonly options: CallOptions;
  };

  constructor(jobs: BulkJobs, action: BulkAction, how: Teller["how"]) {
    this.jobs = jobs;
    this.action = action;
    this.how = how;
  }

  async tell(listed: JobListed): Promise<Outcome> {
    const { options: { signal }, isDryRun } = this.how;
    try {
      if (!await this.concerns(listed)) return SKIPPED;
      return isDryRun ? TOLD : await this.act(listed.job);
    } catch (thrown) {
      signal?.throwIfAborted();
      return await this.judge(listed.job, toAetherError(thrown));
    }
  }

  /** What was in the way may be that somebody else has done it, or that the job has ended meanwhile. */
  private async judge(job: JobId, { code, message }: AetherError): Promise<Outcome> {
    const failed: Outcome = { kind: "failed", code, message };
    if (code !== "E_CONFLICT") return failed;
    try {
      return await this.concerns(await this.jobs.show(job, this.how.options)) ? failed : SKIPPED;
    } catch {
      // ignored: what was in the way is said.
      return failed;
    }
  }

  private async concerns({ job, row }: JobListed): Promise<boolean> {
    const { status, waiting, collectedMs } = row;
    const isLive = !hasEnded(status);
    switch (this.action.kind) {
      case "cancel":
      case "signal":
        return isLive;
      case "release":
        return isLive && (waiting?.reason === "restored" || waiting?.reason === "stuck");
      case "move":
        return isLive && (waiting?.reason === "stuck" || await this.artifactOf(job) !== this.action.artifact);
      case "retry":
        return (status === "failed" || status === "cancelled") && collectedMs === undefined &&
          (await this.jobs.show(job, this.how.options)).repeatedBy === undefined;
      case "resolve":
        return isLive && (await this.callsInDoubt(job, this.action)).length > 0;
      default:
        return unreachable(this.action);
    }
  }

  private async act(job: JobId): Promise<Outcome> {
    const { jobs, action } = this;
    const { caller, traceparent, options } = this.how;
    switch (action.kind) {
      case "cancel":
        await jobs.cancel(job, caller, options);
        return TOLD;
      case "release":
        await jobs.release(job, caller, options);
        return TOLD;
      case "signal":
        await jobs.signal(job, action, caller, options);
        return TOLD;
      case "retry": {
        const { kind, ...how } = action;
        const repeat = { what: { kind }, ...how, ...(traceparent !== undefined && { traceparent }) };
        return { kind: "told", made: (await jobs.repeat(job, repeat, caller, options)).job };
      }
      case "move": {
        const moved = await jobs.move(job, action.artifact, caller, options);
        if (moved.kind === "moved") return moved.isNew ? TOLD : SKIPPED;
        const message = `${action.artifact} does not do what its log says, from event ${moved.seq} on: the log has ` +
          `${moved.expected}, the code ${moved.found}`;
        return { kind: "failed", code: "E_NONDETERMINISM", message };
      }
      case "resolve":
        for (const { effectId } of await this.callsInDoubt(job, action)) {
          await jobs.resolve(job, effectId, action.resolution, caller, options);
        }
        return TOLD;
      default:
        return unreachable(action);
    }
  }

  private async artifactOf(job: JobId): Promise<ArtifactId | undefined> {
    return (await this.jobs.show(job, this.how.options)).artifact;
  }

  private async callsInDoubt(
    job: JobId, { tool }: Extract<BulkAction, { readonly kind: "resolve" }>,
  ): Promise<readonly ToolRow[]> {
    const { tools } = await this.jobs.show(job, this.how.options);
    return tools.filter((row) => row.state === "unknown" && (tool === undefined || row.tool === tool));
  }
}

function answerOf(
  told: readonly { readonly job: JobId; readonly outcome: Outcome }[],
): Pick<BulkAnswer, "told" | "skipped" | "failed" | "jobs" | "made"> {
  const jobs = told.flatMap(({ job, outcome }) => (outcome.kind === "told" ? [job] : []));
  const made = told.flatMap(({ job: of, outcome }) =>
    outcome.kind === "told" && outcome.made !== undefined ? [{ job: outcome.made, of }] : []);
  return {
    told: jobs.length,
    skipped: told.filter(({ outcome }) => outcome.kind === "skipped").length,
    failed: told.flatMap(({ job, outcome }) =>
      outcome.kind === "failed" ? [{ job, code: outcome.code, message: outcome.message }] : []),
    jobs,
    ...(made.length > 0 && { made }),
  };
}

async function inGroups<T, R>(all: readonly T[], size: number, work: (one: T) => Promise<R>): Promise<readonly R[]> {
  const done: R[] = [];
  for (let at = 0; at < all.length; at += size) done.push(...await Promise.all(all.slice(at, at + size).map(work)));
  return done;
}
