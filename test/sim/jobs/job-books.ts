// Owns: what a run of jobs noted while it went: of the world outside, of clients and people, of transactions. The
// checker compares it with what the store has.
import type { PlannedSchedule } from "./job-plan.ts";

export interface StreamChange {
  readonly key: string;
  /** Undefined when the key was deleted. */
  readonly value: unknown;
}

/** One transaction, as the store applied it. */
export interface StreamTxn {
  readonly revision: number;
  readonly changes: readonly StreamChange[];
}

export interface SentRequest {
  readonly tool: string;
  readonly key: string;
  readonly from: string;
  readonly sentAtMs: number;
  readonly isDone: boolean;
}

/** What a person decided about an approval. */
export interface Decision {
  readonly approved: boolean;
  readonly principal: string;
  /** Whether the cluster said that it holds. */
  isAcknowledged: boolean;
}

export interface Refill {
  readonly key: string;
  readonly tokens: number;
  readonly atMs: number;
  /** By a call that had taken more than it used; or that takes. */
  readonly isGivenBack: boolean;
}

/** What a webhook was told once. */
export interface Notice {
  readonly id: string;
  readonly body: string;
  readonly isTaken: boolean;
}

/** Every time is virtual, in milliseconds, unless it says something else. */
export interface JobBooks {
  readonly stream: readonly StreamTxn[];
  readonly requests: readonly SentRequest[];
  /** What the other side answered when it had its effect, by effect id. */
  readonly receipts: ReadonlyMap<string, readonly string[]>;
  /** Effects that are found undone when somebody looks. */
  readonly undone: ReadonlySet<string>;
  /** How often a model was asked, by effect id. */
  readonly asked: ReadonlyMap<string, number>;
  /** Transactions with a grant whose proposer had its answer. */
  readonly grantsAnswered: readonly { readonly node: string; readonly effectId: string; readonly atMs: number }[];
  /** Steps that began. */
  readonly stepsBegun: readonly { readonly job: string; readonly label: string; readonly atMs: number }[];
  /** When the record of a step was known to be stored. */
  readonly stepsStored: ReadonlyMap<string, number>;
  /** What persons said became of calls, by effect id. */
  readonly answers: ReadonlyMap<string, number>;
  /** By job and call. */
  readonly decisions: ReadonlyMap<string, readonly Decision[]>;
  /** Keys under which the budget of a job was raised. */
  readonly raises: ReadonlyMap<string, ReadonlySet<string>>;
  /** Signals that were acknowledged, by job. */
  readonly signals: ReadonlyMap<string, readonly string[]>;
  readonly started: readonly string[];
  /** What starts jobs by itself. */
  readonly schedule: PlannedSchedule | undefined;
  /** What a webhook was told, as often as it was. */
  readonly notices: readonly Notice[];
  /** Calls that were to be made again, by the job that was to do so. */
  readonly agains: ReadonlyMap<string, readonly string[]>;
  /** From when on a revision was known to be stored, in the order of time. */
  readonly revisions: readonly { readonly atMs: number; readonly revision: number }[];
  /** When it was last proposed that a timer has fired, by job and call. */
  readonly fired: ReadonlyMap<string, number>;
  /** When tokens were added to a rate, or it was left with so many, by the key of its row. */
  readonly refills: readonly Refill[];
  /** What the wall clocks of most nodes showed at a time, give or take `timersSkewMs`. */
  readonly wallMsAt: (atMs: number) => number;
  readonly timersSkewMs: number;
}
