// Owns: what ONE append of a run is made of, and what it has. Does not own: how it is made (plan-maker.ts), and what
// becomes of it (run-batch.ts).
import type { Digest, JobId } from "../../../base/ids.ts";
import type { Account, Amount } from "../budget/account.ts";
import type { RateTake } from "../flow/call-rates.ts";
import type { ResolveEntry } from "../flow/inbox-entry.ts";
import type { PermitLimit } from "../flow/permits.ts";
import type { CallName, EffectId } from "../ids.ts";
import type { ToolChange } from "../life/append-batch.ts";
import type { Children, ChildStart } from "../life/children.ts";
import type { CancelFacts } from "../life/deadline.ts";
import type { NextRun } from "../life/decide-continue.ts";
import type { JobNeeds } from "../life/decide-start.ts";
import type { JobEvent } from "../log/event.ts";
import type { BlobRef } from "../payloads/blob.ts";
import type { JobError, JobResult, RestoredPoint } from "../rows.ts";
import type { ToolRow } from "../tools/tool-row.ts";
import type { AgentOp } from "../worker/messages.ts";
import type { OpenApprovals } from "./open-approvals.ts";
import type { Offered } from "./run-waits.ts";

export type WantTool = Extract<AgentOp, { readonly kind: "want-tool" }>;

/** A call that the code wants, and the number of the operation by which it does. */
export interface NumberedWant {
  readonly n: number;
  readonly want: WantTool;
}

/** What is found out before a child is started. */
export type ChildAnswer =
  | { readonly kind: "ready"; readonly pin: Digest; readonly needs?: JobNeeds }
  | { readonly kind: "refused"; readonly error: JobError };

export interface RunFacts {
  readonly epoch: number;
  /** The ledger as it is. */
  readonly tools: readonly ToolRow[];
  /** When the timers that the log has set are due, by their calls. */
  readonly timers: ReadonlyMap<CallName, number>;
  /** Of a job that comes from a backup. */
  readonly restored?: RestoredPoint;
  readonly children: Children;
  /** A cancel is in the log: no child is started any more. */
  readonly isCancelled: boolean;
  /** The first one was that of its deadline. */
  readonly isOverdue?: boolean;
  /** How the job ends then. */
  readonly overdueEnd?: JobResult;
  /** What people are asked; kept up to date by whoever appends. */
  readonly approvals: Pick<OpenApprovals, "has" | "room">;
  /** Whether a payload that an operation names is in the store; all are when absent. */
  isStored?(blob: BlobRef): boolean;
  effectIdOf(call: CallName): EffectId;
  childIdOf(call: CallName): JobId;
  /** Which of these secrets this node does not have; none are missing when absent. */
  missingSecrets?(names: readonly string[]): readonly string[];
  /** What the call has to wait for before it is granted; nothing when absent. */
  ratesOf?(want: WantTool): readonly RateTake[];
  /** Calls that may be under way at once where this one counts; no limit when absent. */
  callLimitOf?(want: WantTool): PermitLimit | undefined;
}

/** A change that the owner makes by itself. */
export type OwnChange =
  | { readonly kind: "lost"; readonly effectId: EffectId; readonly reason: string }
  /** An entry of the inbox that nobody wants. */
  | { readonly kind: "unwanted"; readonly inbox: number }
  /** A person has said what became of a call that no code waits for. */
  | { readonly kind: "resolved"; readonly inbox: number; readonly entry: ResolveEntry }
  /** It is the turn of a call that has waited for its place or its rate. */
  | { readonly kind: "admitted"; readonly effectId: EffectId }
  /** The job may spend more. */
  | { readonly kind: "raised"; readonly inbox: number; readonly add: Amount; readonly principal: string }
  /** A child has ended that nobody waits for. */
  | { readonly kind: "settled"; readonly inbox: number; readonly call: CallName; readonly spent?: Amount }
  /** A person has let the job go on that was held since a restore. */
  | { readonly kind: "let-go"; readonly inbox: number; readonly principal: string };

export interface Granted {
  readonly n: number;
  readonly row: ToolRow;
  /** Names of the secrets that the call is given. */
  readonly secrets: readonly string[];
}

/** A call whose outcome is to be found out. */
export interface Doubt {
  readonly row: ToolRow;
  readonly want: WantTool;
}

/** A call that waits for its turn. */
export interface Rated {
  readonly effectId: EffectId;
  readonly rates: readonly RateTake[];
  readonly limit?: PermitLimit;
}

export type Costly = Extract<AgentOp, { readonly kind: "want-tool" | "want-step" | "want-child" }>;

/** What the job's budget does not suffice for. */
export interface Starved {
  readonly op: Costly;
  /** Why, for a person. */
  readonly why: string;
}

/** What can be appended now. */
export interface Plan {
  readonly events: readonly JobEvent[];
  readonly tools: readonly ToolChange[];
  readonly folded: readonly number[];
  /** Operations up to this one are in it. */
  readonly upTo: number;
  /** And these later ones, which did not have to wait for what is between. */
  readonly ahead: readonly number[];
  readonly changes: number;
  readonly end?: JobResult;
  /** The job begins afresh. */
  readonly next?: NextRun;
  readonly granted: readonly Granted[];
  readonly refused: readonly { readonly n: number; readonly error: JobError }[];
  readonly doubts: readonly Doubt[];
  /** Calls that have to wait for their turn before they are granted. */
  readonly rated: readonly Rated[];
  /** Calls whose turn it was, whatever came of it. */
  readonly admitted: ReadonlySet<EffectId>;
  /** Of a job with a budget, after these events. */
  readonly account: Account | undefined;
  /** By the numbers of their operations: all that waits for more. */
  readonly starved: ReadonlyMap<number, Starved>;
  /** Steps that may be run now, by the numbers of their operations. */
  readonly stepsAllowed: readonly number[];
  /** Steps that may be run and are not in the log. */
  readonly stepsOpen: ReadonlySet<CallName>;
  readonly childStarts: readonly ChildStart[];
  /** Children that are to be cancelled. */
  readonly childCancels: readonly JobId[];
  /** Offers that the worker took. */
  readonly taken: readonly number[];
}

/** What a plan is made over: the run as the store has it, and what its code wants. */
export interface PlanState {
  readonly seq: number;
  readonly account: Account | undefined;
  readonly starved: ReadonlyMap<number, Starved>;
  readonly stepsOpen: ReadonlySet<CallName>;
  readonly tools: ReadonlyMap<EffectId, ToolRow>;
  readonly open: ReadonlySet<EffectId>;
  readonly timers: ReadonlySet<CallName>;
  readonly offers: ReadonlyMap<number, Offered>;
  readonly wants: ReadonlyMap<EffectId, NumberedWant>;
  readonly rated: ReadonlySet<EffectId>;
  readonly children: Children;
  readonly childAnswers: ReadonlyMap<number, ChildAnswer>;
  readonly cancel: CancelFacts;
  /** The job's end is decided: no call begins any more. */
  readonly isEnding: boolean;
}
