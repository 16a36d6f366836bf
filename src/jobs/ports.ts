// Ports only: no code here. What the parts of the job runtime see of each other, so that each is tested apart.
import type { CallOptions } from "../env/env.ts";
import type { ArtifactId, Digest, JobId } from "../base/ids.ts";
import type { ErrorCode } from "../base/error-catalog.ts";
import type { AetherError, ErrorDetails } from "../base/errors.ts";
import type { JobRef } from "../kvstore/core/job-key.ts";
import type { KvReadOptions } from "../kvstore/kv.ts";
import type { Txn } from "../kvstore/core/schema.ts";
import type { ApprovalRow } from "./core/flow/approval-row.ts";
import type { Amount } from "./core/budget/account.ts";
import type { UntoldRow } from "./core/flow/notice.ts";
import type { CallName, EffectId } from "./core/ids.ts";
import type { JobEvent, Resolution, StoredEvent } from "./core/log/event.ts";
import type { BlobRef } from "./core/payloads/blob.ts";
import type { ToolRow } from "./core/tools/tool-row.ts";
import type { JobHead, JobResult, JobRow, JobSpec, QueueClass, WaitReason } from "./core/rows.ts";
import type { FromAgent, RunNumber, RunStart, ToAgent } from "./core/worker/messages.ts";
import type { ReplayVerdict } from "./core/worker/replay-verdict.ts";

/** A job as its owner holds it: enough to decide what comes next without another read. */
export interface JobView {
  readonly ref: JobRef;
  readonly row: JobRow;
  /** modRevision of the row: the fence. */
  readonly rowRevision: number;
  readonly head: JobHead;
  readonly headRevision: number;
  readonly spec: JobSpec;
  readonly inbox: { readonly last: number; readonly revision: number };
}

/** Something was decided that the store is asked to make true, or refused at once. */
export type Decision =
  | { readonly kind: "refused"; readonly code: ErrorCode; readonly reason: string; readonly details?: ErrorDetails }
  | Transition;

/** One transaction: all of it, or nothing. */
export interface Transition {
  readonly kind: "transition";
  readonly txn: Txn;
  /** The job once it is done; the revisions are filled in by the commit. */
  readonly next: JobView;
  readonly events: readonly JobEvent[];
}

/**
 * How a transition ended. `fenced`: the job's row is not as it was, so that somebody else owns it, or it has ended.
 * `inbox-not-empty`: something came that was not looked at. `contended`: a row that is shared with other jobs has
 * changed, or the store has no room for more work just now. `corrupt`: the head is not what the owner wrote.
 */
export type Verdict =
  | { readonly kind: "applied"; readonly view: JobView }
  | { readonly kind: "fenced" | "inbox-not-empty" | "contended" | "corrupt" };

/** A job with everything that its code needs to go on. */
export interface LoadedJob {
  readonly view: JobView;
  readonly log: readonly Uint8Array[];
  /** Number of the last event that is in a chunk too, see core/log/chunk.ts. */
  readonly chunkedTo: number;
  readonly tools: readonly ToolRow[];
}

/** What a job's owner has of the store. */
export interface JobLog {
  /** The job as it is now, with its log and the calls of its tools. @throws AetherError E_NOT_FOUND, E_DATA_CORRUPT */
  load(ref: JobRef, options?: CallOptions): Promise<LoadedJob>;
  /**
   * Proposes the transition until it is known what became of it: where the outcome of one attempt is unknown the same
   * transaction is proposed again, so that it is in the store once or not at all.
   */
  commit(transition: Transition, options?: CallOptions): Promise<Verdict>;
  /**
   * Writes what comes after event `after` as a chunk, while the job is the view's owner's; answers up to which event
   * there are chunks then, undefined when nothing was written.
   */
  chunk(view: JobView, after: number, options?: CallOptions): Promise<number | undefined>;
}

/** A worker that runs the code of one pin. Several jobs share it. */
export interface AgentWorker {
  /** The slice whose code it runs. */
  readonly slice: string;
  /** Starts a run; `onMessage` hears of nothing else. */
  start(start: RunStart, onMessage: (message: FromAgent) => void): RunNumber;
  send(message: Exclude<ToAgent, { readonly kind: "start" }>): void;
  /** Said once, when the worker has ended by itself or was ended: its runs are gone. */
  onLost(listener: (reason: string) => void): void;
  /** Nobody uses it any more; it may be ended, or given to others. */
  release(): void;
}

export interface AgentWorkers {
  /** @throws AetherError E_NOT_FOUND when the artifact is not there, E_HANDLER when the code does not load */
  open(pin: Digest, options?: CallOptions): Promise<AgentWorker>;
}

/** Who asks: from credentials, never from what was sent. */
export interface Caller {
  readonly principal: string;
  readonly tenant: string;
}

export interface StartJob {
  readonly agent: string;
  readonly input: unknown;
  readonly id?: JobId;
  /** The same key again is the same job; with another input it is refused. */
  readonly idempotencyKey?: string;
  /** Its share of the places, see core/flow/fair-queue.ts. Default: `default`. */
  readonly queueClass?: QueueClass;
  /** Among the jobs of its tenant and class. Higher goes first; default 0. */
  readonly priority?: number;
  readonly attributes?: Readonly<Record<string, string>>;
  /** Of the node that runs it, beside those that its agent asks for. */
  readonly labels?: Readonly<Record<string, string>>;
  /** From its start on, no longer than its agent says; then it is asked to end, and has failed. */
  readonly maxDurationMs?: number;
  /** What it may spend; of each unit that is left out as much as its agent says, if it does. */
  readonly budget?: Amount;
  /** W3C trace context of who starts it. */
  readonly traceparent?: string;
}

export interface StartedJob {
  readonly job: JobId;
  readonly status: JobRow["status"];
  /** False when the key or the id had been used before, with the same input. */
  readonly isNew: boolean;
}

/** How a job that has ended is done again, by a new one with the same effect ids. */
export interface RepeatJob {
  /** `fork`: from before the first event of the call `at` on. */
  readonly what: { readonly kind: "retry" } | { readonly kind: "fork"; readonly at: string; readonly input?: unknown };
  readonly id?: JobId;
  /** Default `same`: what the old job ran. `current`: what a job of its agent would run now. */
  readonly code?: "same" | "current";
  /** Calls that may have happened, and that are to be made again all the same. */
  readonly again?: readonly string[];
  /** W3C trace context of who has it done again. */
  readonly traceparent?: string;
}

/** `isNew`: false when the job ran that already. */
export type MovedJob =
  | { readonly kind: "moved"; readonly isNew: boolean }
  | Extract<ReplayVerdict, { readonly kind: "diverged" }>;

export interface JobShown {
  readonly job: JobId;
  readonly row: JobRow;
  readonly head: JobHead;
  readonly spec: JobSpec;
  readonly tools: readonly ToolRow[];
  /** Jobs that it has started: the first 100; a listing has all of them. */
  readonly children: readonly JobListed[];
  /** What it waits for people to decide. */
  readonly approvals: readonly ApprovalListed[];
  /** What it runs; absent when that is not kept any more. */
  readonly artifact?: ArtifactId;
  readonly result?: JobResult;
  /** The job that does this one again. */
  readonly repeatedBy?: JobId;
  /** What webhooks could not be told of it. */
  readonly untold?: UntoldRow;
  /** Of a job that is pending: what it waits for, as the node that is asked sees it. */
  readonly pending?: string;
}

export interface JobListed {
  readonly job: JobId;
  readonly row: JobRow;
}

export interface JobFilter {
  readonly agent?: string;
  readonly status?: JobRow["status"];
  /** Jobs that this one has started. */
  readonly parent?: JobId;
  readonly attributes?: Readonly<Record<string, string>>;
  /** Jobs that wait for this. */
  readonly waiting?: WaitReason;
  /** Jobs that run this version of their package. */
  readonly artifact?: ArtifactId;
  /** Jobs that were started at this wall time or later, and before this one. */
  readonly createdFromMs?: number;
  readonly createdBeforeMs?: number;
}

export interface JobPageQuery extends JobFilter {
  /** 1 to 1,000. */
  readonly limit?: number;
  readonly after?: JobId;
  /** Of the ids, which begin with the time unless they were given. Default: `oldest` first. */
  readonly order?: JobOrder;
  /** Only jobs that were there at this revision of the store. */
  readonly upTo?: number;
}

/** Which jobs come first. Those that come meanwhile are before any page of the newest, and after one of the oldest. */
export type JobOrder = "newest" | "oldest";

export interface JobPage {
  readonly jobs: readonly JobListed[];
  readonly more: boolean;
  /** Where to go on; with a filter it may be after a job that is not among these. */
  readonly next?: JobId;
  /** The store's, when the page was read. */
  readonly revision: number;
}

export interface EventsQuery {
  /** Only events after this number. */
  readonly afterSeq?: number;
  /** 1 to 1,000. */
  readonly limit?: number;
  /** Of this run. Default: the latest. */
  readonly run?: number;
}

export interface NumberedEvent extends StoredEvent {
  readonly run: number;
  readonly seq: number;
  /** Link of the chain after this event. */
  readonly link: Digest;
}

/** Hears of one job. Must not throw; nothing comes after `onEnd` or `onError`. */
export interface JobFollower {
  /** The job's row, at first as it is and then whenever it has changed. */
  onState(row: JobRow): void;
  /** What its code emits while it runs. Some of it may be left out. */
  onProgress(item: unknown): void;
  onEnd(result: JobResult): void;
  onError(error: AetherError): void;
}

export interface Following {
  close(): void;
}

/** An approval that a job waits for. */
export interface ApprovalListed {
  readonly job: JobId;
  readonly call: CallName;
  readonly row: ApprovalRow;
}

/** What became of an approval. */
export interface ApprovalDecided {
  readonly job: JobId;
  readonly call: CallName;
  readonly approved: boolean;
}

export interface ApprovalPageQuery {
  readonly job?: JobId;
  /** 1 to 1,000. */
  readonly limit?: number;
  /** Where to go on: what an earlier answer gave as `next`. */
  readonly after?: string;
}

export interface DecideApproval {
  /** Its call, or its name where the job waits for one approval of that name. */
  readonly approval: string;
  readonly approved: boolean;
  readonly data: unknown;
  /** Digest of what whoever decides was shown: refused when it is another one by now. */
  readonly shown?: Digest;
  /** The same key again is the same decision. */
  readonly idempotencyKey?: string;
}

/** What people and programs do with jobs; all throw E_NOT_FOUND for a job that is not there. */
export interface Jobs {
  /**
   * @throws AetherError E_NOT_FOUND for an agent nobody has, E_INVALID for an input that it does not take, E_CONFLICT,
   *   E_OVERLOADED, E_QUOTA, E_TOO_LARGE
   */
  start(start: StartJob, caller: Caller, options?: CallOptions): Promise<StartedJob>;
  /**
   * @throws AetherError E_CONFLICT for a job that has not ended, that was done again before, or whose calls would be
   *   made twice, E_NOT_FOUND for a call that it does not have, E_TOO_LARGE, E_OVERLOADED, E_QUOTA
   */
  repeat(job: JobId, repeat: RepeatJob, caller: Caller, options?: CallOptions): Promise<StartedJob>;
  /**
   * Whether another version of its package does what the log of the job says. Calls and changes nothing.
   * @throws AetherError E_NOT_FOUND for a version that is not there, E_INVALID for one that is none of its package,
   *   E_CONFLICT, E_OVERLOADED, E_TIMEOUT, and others for code that cannot be run
   */
  replay(job: JobId, artifact: ArtifactId, options?: CallOptions): Promise<ReplayVerdict>;
  /**
   * Lets the job run another version of its package, if that does what its log says. One that runs holds still for it.
   * @throws AetherError as `replay`; E_CONFLICT when the job has ended or goes on and on, E_TIMEOUT when a call of it
   *   takes too long
   */
  move(job: JobId, artifact: ArtifactId, caller: Caller, options?: CallOptions): Promise<MovedJob>;
  show(job: JobId, options?: KvReadOptions): Promise<JobShown>;
  list(query: JobPageQuery, options?: KvReadOptions): Promise<JobPage>;
  /** In order. @throws AetherError E_NOT_FOUND for a run that it has not come to */
  events(job: JobId, query: EventsQuery, options?: KvReadOptions): Promise<{
    readonly events: readonly NumberedEvent[];
    readonly more: boolean;
  }>;
  /** The job as lines of text, each with its end, see core/explain; checked by whoever reads them. */
  export(job: JobId, options?: CallOptions): Promise<AsyncIterable<string>>;
  /** What a job has stored apart, for whoever knows its name. @throws AetherError E_DATA_CORRUPT */
  payload(blob: BlobRef, options?: CallOptions): Promise<unknown>;
  /** The same as JSON, a piece after the other, to be read to its end. @throws AetherError E_DATA_CORRUPT */
  payloadText(blob: BlobRef, options?: CallOptions): Promise<AsyncIterable<string>>;
  /** The result as soon as there is one; undefined when it has not ended within the time. */
  result(job: JobId, waitMs: number, options?: CallOptions): Promise<JobResult | undefined>;
  /** From now on, until it has ended or is closed; the first state is told before this resolves. */
  follow(job: JobId, follower: JobFollower, options?: CallOptions): Promise<Following>;
  /**
   * @throws AetherError E_CONFLICT when the job has ended, E_INVALID for what its agent says it is not told,
   *   E_OVERLOADED above 1,000 entries that were not read
   */
  signal(job: JobId, signal: {
    readonly name: string;
    readonly payload: unknown;
    readonly idempotencyKey?: string;
  }, caller: Caller, options?: CallOptions): Promise<void>;
  cancel(job: JobId, caller: Caller, options?: CallOptions): Promise<void>;
  /** Lets a job go on that is held since a restore. @throws AetherError E_CONFLICT for any other */
  release(job: JobId, caller: Caller, options?: CallOptions): Promise<void>;
  /**
   * Lets a job spend more; the same key again is the same raise.
   * @throws AetherError E_CONFLICT when it has ended, E_INVALID for what its budget does not limit
   */
  raise(job: JobId, raise: {
    readonly add: Amount;
    readonly idempotencyKey?: string;
  }, caller: Caller, options?: CallOptions): Promise<void>;
  /** Says what became of a call that nobody knows about. @throws AetherError E_CONFLICT unless it is unknown */
  resolve(job: JobId, effect: EffectId, resolution: Resolution, caller: Caller, options?: CallOptions): Promise<void>;
  /** What waits for a decision, in the order of jobs. */
  approvals(query: ApprovalPageQuery, options?: KvReadOptions): Promise<{
    readonly approvals: readonly ApprovalListed[];
    readonly more: boolean;
    readonly next?: string;
  }>;
  /** @throws AetherError E_NOT_FOUND, E_CONFLICT when somebody has decided before, or its time is over */
  decide(job: JobId, decision: DecideApproval, caller: Caller, options?: CallOptions): Promise<ApprovalDecided>;
}
