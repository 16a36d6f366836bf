// Owns: what a node and the code of an agent say to each other about one run of one job.
//
// The worker alone decides the order of a log: its operations are numbered, and the node appends them in that order.
// What the node offers by itself (a timer that fired, a signal, a cancel) takes its place in the log where the worker
// says that it took it. So the order in which code saw values is the order of the log, with branches in parallel too.
// Values are at hand at once; what waits for the commit of everything before it is what reaches the world outside.
//
// Code that runs again comes to calls that the log has begun and not ended: tools that were granted, timers that were
// set. It says `want-tool` and `want-wait` for them anew, and the node, which knows them, appends nothing for it twice.
// A tool that was resolved as not done is wanted anew as well.
//
// A payload that is too large for a message is named by its digest. The parts of its MessagePack go from one side to
// the other as that other side asks for them, one after the other.
import type { Digest, JobId } from "../../../base/ids.ts";
import type { Amount, Unit } from "../budget/account.ts";
import type { ModelUse } from "../flow/call-rates.ts";
import type { ToolRate } from "../flow/rate-bucket.ts";
import type { CallName, EffectId, JobUid } from "../ids.ts";
import type { MismatchAction, ModelUsage, Resolution, ToolEffect, Verdict } from "../log/event.ts";
import type { Apart, BlobRef } from "../payloads/blob.ts";
import type { JobError } from "../rows.ts";

/** Names a run of a job within one worker; never given twice there. */
export type RunNumber = number;

/** By name. */
export type SecretValues = Readonly<Record<string, string>>;

/** What a run starts with. */
export interface RunStart {
  readonly agent: string;
  readonly job: JobId;
  readonly uid: JobUid;
  readonly input: unknown;
  /** Present where the input is stored apart. */
  readonly inputBlob?: BlobRef;
  readonly epoch: number;
  /** Steps begin only while the fence of the worker's node is this one and holds; absent where nothing is begun. */
  readonly fence?: number;
  /** Which run of the job it is: one more each time the job continues as a new one. Default: 1. */
  readonly jobRun?: number;
  /** The log so far, as stored: what it records is not done again. */
  readonly log: readonly Uint8Array[];
  /** Nothing is begun that the log does not have: the code is run only to see whether it does the same. */
  readonly isReplayOnly?: true;
  /** What the job's budget limits; absent without one. */
  readonly limited?: readonly Unit[];
}

/** How the code of a run ends. */
export type CodeEnd = Extract<AgentOp, { readonly kind: "completed" | "failed" | "cancelled" | "continued" }>;

/** Calls that are named of those that code waits for where its log is over. */
export const NEXT_CALLS_MAX = 8;

/** What the node gives to code that waits for it. */
export type OfferedEntry =
  | { readonly kind: "timer-fired" }
  | ({ readonly kind: "signal"; readonly payload: unknown } & Apart)
  | { readonly kind: "decided"; readonly approved: boolean; readonly principal: string; readonly data: unknown }
  /** For a child that the code does not wait for. */
  | { readonly kind: "child-detached"; readonly job: JobId }
  | ({ readonly kind: "child-completed"; readonly output: unknown } & Apart)
  | { readonly kind: "child-failed"; readonly error: JobError }
  | { readonly kind: "tool-resolved"; readonly resolution: Resolution }
  | { readonly kind: "cancel" };

/** Node → worker. */
export type ToAgent =
  | { readonly kind: "start"; readonly run: RunNumber; readonly start: RunStart }
  /** All operations up to `upTo` are decided and durable. Steps begin under this fence from now on. */
  | {
    readonly kind: "committed";
    readonly run: RunNumber;
    readonly upTo: number;
    /** Operations beyond that are durable too: they did not wait for one before them that does. */
    readonly ahead?: readonly number[];
    readonly fence: number;
  }
  /** The grant of operation `n`, a `want-tool`, is committed: dispatch it now, after a look at the fence. */
  | {
    readonly kind: "granted";
    readonly run: RunNumber;
    readonly n: number;
    readonly effectId: EffectId;
    readonly attempt: number;
    /** Dispatched only while the fence of the worker's node is this one and holds, see fence-cell.ts. */
    readonly fence: number;
    /** Values of those that the operation lists; never stored. */
    readonly secrets?: SecretValues;
  }
  /** The step of operation `n`, a `want-step`, may be run. */
  | { readonly kind: "step-allowed"; readonly run: RunNumber; readonly n: number }
  /** Operation `n` is not going to be done: code gets this error, and the log has nothing of it. */
  | { readonly kind: "refused"; readonly run: RunNumber; readonly n: number; readonly error: JobError }
  /** For the call that waits for it; a cancel is for the whole run. Takes effect when the worker says `took`. */
  | {
    readonly kind: "offer";
    readonly run: RunNumber;
    readonly offer: number;
    readonly call?: CallName;
    readonly entry: OfferedEntry;
  }
  /** Asks the tool whether a call has happened. */
  | {
    readonly kind: "reconcile";
    readonly run: RunNumber;
    readonly call: CallName;
    readonly tool: string;
    readonly effectId: EffectId;
    readonly input: unknown;
    /** The input is too large for a message: the worker has it. */
    readonly isApart?: true;
    readonly secrets?: SecretValues;
  }
  /** What the worker asked for with `verifying`. */
  | { readonly kind: "verify"; readonly run: RunNumber; readonly secrets?: SecretValues }
  /** The worker may hold a payload of the size that it asked room for; or why it may not. */
  | { readonly kind: "room"; readonly run: RunNumber; readonly room: number; readonly refusal?: JobError }
  /** For a part of what the worker holds since it named it in an operation. */
  | { readonly kind: "want-part"; readonly run: RunNumber; readonly digest: Digest; readonly part: number }
  | PayloadPart
  /** A payload that the job needs cannot be read. */
  | { readonly kind: "payload-lost"; readonly run: RunNumber; readonly digest: Digest; readonly error: JobError }
  /** The job is to go to another node: no step begins any more, and the worker says `left` once none runs. */
  | { readonly kind: "leave"; readonly run: RunNumber }
  /** The node does not own the job any more, or ends it: nothing of this run is heard from now on. */
  | { readonly kind: "drop"; readonly run: RunNumber };

export interface PayloadPart {
  readonly kind: "part";
  readonly run: RunNumber;
  readonly digest: Digest;
  readonly part: number;
  readonly data: Uint8Array;
}

/** What code waits for. */
export type AgentWait =
  | { readonly kind: "timer"; readonly dueMs: number }
  | { readonly kind: "signal"; readonly signal: string; readonly untilMs?: number }
  | {
    readonly kind: "approval";
    readonly name: string;
    readonly summary: string;
    readonly data: unknown;
    readonly shown: Digest;
    /** The tool that is called once it is approved. */
    readonly tool?: string;
    readonly untilMs?: number;
  };

export type ToolOutcome =
  | ({
    readonly kind: "succeeded";
    readonly result: unknown;
    readonly externalId?: string;
    readonly problem?: string;
    readonly usage?: ModelUsage;
    /** What it cost, as far as that is known. */
    readonly cost?: Amount;
  } & Apart)
  | {
    readonly kind: "failed";
    readonly error: JobError;
    /** The tool says that nothing has happened outside. */
    readonly isNotDone: boolean;
    /** What it may have cost all the same. */
    readonly cost?: Amount;
  }
  | { readonly kind: "unknown"; readonly reason: string };

/** What a tool's `reconcile` says of a call. */
export type ReconcileAnswer =
  | { readonly kind: "done"; readonly result: unknown }
  /** `isFinal`: it also cannot happen any more. */
  | { readonly kind: "not-done"; readonly isFinal: boolean }
  | { readonly kind: "unknown"; readonly reason: string };

/** One operation of a run: what becomes events, in this order. */
export type AgentOp =
  | ({
    readonly kind: "step-completed"; readonly call: CallName; readonly value: unknown; readonly tookMs?: number;
  } & Apart)
  | { readonly kind: "step-failed"; readonly call: CallName; readonly error: JobError; readonly tookMs?: number }
  /** Asked where the job's budget limits steps: this one is run once the node allows it. */
  | { readonly kind: "want-step"; readonly call: CallName }
  | { readonly kind: "value"; readonly call: CallName; readonly value: unknown }
  /** The worker has taken the node's offer: its place in the log is here. */
  | { readonly kind: "took"; readonly offer: number }
  | ({
    readonly kind: "want-tool";
    readonly call: CallName;
    readonly tool: string;
    readonly effect: ToolEffect;
    readonly canReconcile: boolean;
    readonly input: unknown;
    readonly inputDigest: Digest;
    readonly timeoutMs: number;
    readonly settleMs?: number;
    /** Names of the secrets that the call is to be given. */
    readonly secrets?: readonly string[];
    /** What the whole cluster keeps: the call waits for its turn before it is granted. */
    readonly rate?: ToolRate;
    /** Calls of this tool that the whole cluster has under way at once. */
    readonly maxConcurrent?: number;
    /** The model that is asked: what the whole cluster asks of it may be limited. */
    readonly model?: ModelUse;
    /** The most that one attempt can cost. */
    readonly cost?: Amount;
  } & Apart)
  | {
    readonly kind: "outcome";
    readonly call: CallName;
    readonly effectId: EffectId;
    readonly outcome: ToolOutcome;
  }
  | {
    readonly kind: "verified";
    readonly call: CallName;
    readonly verdict: Verdict;
    readonly onMismatch: MismatchAction;
  }
  | { readonly kind: "want-wait"; readonly call: CallName; readonly wait: AgentWait }
  | ({
    readonly kind: "want-child";
    readonly call: CallName;
    readonly agent: string;
    readonly input: unknown;
    readonly inputDigest: Digest;
    readonly isDetached: boolean;
    /** When the code stops waiting for it, and it is cancelled. */
    readonly untilMs?: number;
    /** What it may spend, as far as the code says. */
    readonly budget?: Amount;
  } & Apart)
  | ({ readonly kind: "completed"; readonly output: unknown } & Apart)
  | { readonly kind: "failed"; readonly error: JobError }
  /** Code ended because it was cancelled. */
  | { readonly kind: "cancelled" }
  /** The job begins afresh with this input. */
  | ({ readonly kind: "continued"; readonly input: unknown; readonly inputDigest: Digest } & Apart);

/** Worker → node. */
export type FromAgent =
  /** `n` = 1, 2, 3 and so on within the run. */
  | { readonly kind: "op"; readonly run: RunNumber; readonly n: number; readonly op: AgentOp }
  /** Nothing of the run's code can go on before the node says something; all that it wants was said up to `after`. */
  | { readonly kind: "idle"; readonly run: RunNumber; readonly after: number }
  /**
   * The fence was down when a granted call was about to be dispatched: it was not, and is not going to be unless the
   * node says `granted` once more.
   */
  | { readonly kind: "not-dispatched"; readonly run: RunNumber; readonly call: CallName; readonly effectId: EffectId }
  /** The fence was down when a step was about to begin: none does until the node says `committed` once more. */
  | { readonly kind: "not-begun"; readonly run: RunNumber }
  /** No step runs, and none is going to: what they came to was said before. */
  | { readonly kind: "left"; readonly run: RunNumber }
  | {
    readonly kind: "reconciled";
    readonly run: RunNumber;
    readonly call: CallName;
    readonly effectId: EffectId;
    readonly answer: ReconcileAnswer;
  }
  /** Before anything new is begun, calls that are recorded as done are to be looked at, with these secrets. */
  | { readonly kind: "verifying"; readonly run: RunNumber; readonly secrets: readonly string[] }
  /** Asks to hold a payload of so many bytes; `room` is the number of the question within the run. */
  | { readonly kind: "want-room"; readonly run: RunNumber; readonly room: number; readonly bytes: number }
  /** That payload is held no more. */
  | { readonly kind: "free-room"; readonly run: RunNumber; readonly room: number }
  /** For a part of a payload that is stored. */
  | { readonly kind: "want-part"; readonly run: RunNumber; readonly blob: BlobRef; readonly part: number }
  | PayloadPart
  /** The code does not do what the log says it did, or a person has to see to what was done. */
  | { readonly kind: "diverged"; readonly run: RunNumber; readonly error: JobError }
  /** Of a run that only replays: the code has done what the log says, and has ended or waits for `next` now. */
  | {
    readonly kind: "replayed";
    readonly run: RunNumber;
    readonly end?: CodeEnd;
    readonly next: readonly CallName[];
  }
  /** Progress for whoever watches; not in the log. */
  | { readonly kind: "emit"; readonly run: RunNumber; readonly data: unknown };
