// Owns: one job as the checker has it: what the transactions so far say of it. It shares no rule with the code under
// test: rows and events are decoded here. Does not own: what is right.
import { decode } from "../../../src/base/codec.ts";

export type JobCheck =
  | "chain" | "owner" | "places" | "terminal" | "runs" | "inbox" | "ledger" | "account" | "approval" | "family"
  | "held" | "backup" | "repeats" | "notices" | "timers" | "rates" | "schedules" | "dispatch" | "effects"
  | "looks" | "replay" | "verify" | "liveness";

/** A rule that is broken. */
export class Found extends Error {
  readonly check: JobCheck;

  constructor(check: JobCheck, message: string) {
    super(message);
    this.check = check;
  }
}

export interface Event {
  readonly type: number;
  readonly atMs: number;
  readonly epoch: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Numbers of events on the wire, as docs and fixtures have them. */
export const E = {
  created: 1, claimed: 2, waiting: 3, released: 4, cancelRequested: 5, completed: 6, failed: 7, cancelled: 8,
  stepCompleted: 16, stepFailed: 17, value: 18,
  granted: 24, succeeded: 25, toolFailed: 26, unknown: 27, resolved: 28,
  timerSet: 32, timerFired: 33, signal: 34, approvalRequested: 40, approvalDecided: 41,
  childStarted: 48, childCompleted: 49, childFailed: 50, childDetached: 51, raised: 56, childSettled: 57,
  repeated: 66, moved: 67, continued: 84, verified: 91,
} as const;

export interface Row {
  readonly status: string;
  readonly agent: string;
  readonly pin: string;
  readonly epoch: number;
  readonly run: number;
  readonly owner?: { readonly node: string };
  readonly attributes?: Readonly<Record<string, string>>;
  readonly waiting?: { readonly reason: string; readonly on: readonly string[]; readonly why?: string };
}

export interface Spec {
  readonly uid: string;
  readonly input: unknown;
  readonly inputBlob?: unknown;
  readonly inputDigest: string;
  readonly budget?: Amount;
  readonly parent?: { readonly job: string; readonly call: string; readonly isDetached: boolean };
}

export type Amount = Readonly<Record<string, number>>;

export interface Account {
  readonly limit: Amount;
  readonly reserved: Amount;
  readonly spent: Amount;
}

export interface Head {
  readonly run: number;
  readonly seq: number;
  readonly link: Buffer;
  readonly account: Account | undefined;
}

export type CallState = "none" | "granted" | "succeeded" | "failed" | "unknown" | "not-done" | "given-up";

export interface CallBook {
  state: CallState;
  tool: string;
  call: string;
  grants: number;
  /** How often it was found not to have happened. */
  notDone: number;
  byPerson: number;
  /** What of both another job has done, which this one does again. */
  readonly before?: Pick<CallBook, "grants" | "notDone">;
}

export interface ChildBook {
  readonly job: string;
  readonly isDetached: boolean;
  readonly budget: Amount;
  /** Nobody waits for it any more. */
  isOver: boolean;
  /** Its end was told to its parent. */
  isTold: boolean;
}

export interface Outgoing {
  readonly ended?: { readonly job: string; readonly call: string };
  readonly cancel?: readonly string[];
}

export interface JobBook {
  readonly id: string;
  row: Row | undefined;
  spec: Spec | undefined;
  /** Where its log ends. */
  link: Buffer | undefined;
  seq: number;
  head: Head | undefined;
  result: { readonly kind: string; readonly output?: unknown; readonly error?: { readonly code?: string } } | undefined;
  /** Of all runs. */
  readonly events: Event[];
  /** Where each of them stands. */
  readonly numbers: { readonly run: number; readonly seq: number }[];
  /** Those that were of interest to others when they came, by their places in `events`. */
  readonly told: Set<number>;
  /** Whose it is from a revision on; undefined: nobody's. */
  readonly owners: { readonly revision: number; readonly node: string | undefined }[];
  readonly inbox: Map<number, Readonly<Record<string, unknown>>>;
  lastEntry: number;
  /** By effect id. */
  readonly calls: Map<string, CallBook>;
  readonly due: Map<string, number>;
  readonly fired: Set<string>;
  readonly received: string[];
  /** The time that its code was told last, in this run. */
  nowMs: number;
  /** By their calls. */
  readonly children: Map<string, ChildBook>;
  /** What it has to tell other jobs. */
  readonly outbox: Map<string, Outgoing>;
  /** It was asked to end. */
  isCancelled: boolean;
  account: Account | undefined;
  /** What is reserved for a call. */
  readonly held: Map<string, Amount>;
  /** The job that it does again, and what it has of it. */
  of: RepeatedBook | undefined;
  /** The one that does it again. */
  repeatedBy: string | undefined;
}

export interface RepeatedBook {
  readonly job: string;
  readonly run: number;
  /** What its calls had, by their names. */
  readonly effectIds: ReadonlyMap<string, string>;
  /** Values that its code had seen in earlier runs. */
  readonly seenBefore: number;
}

export function createBook(id: string): JobBook {
  return {
    id, row: undefined, spec: undefined, link: undefined, seq: 0, head: undefined, result: undefined,
    events: [], numbers: [], told: new Set(), owners: [],
    inbox: new Map(), lastEntry: 0, calls: new Map(), due: new Map(), fired: new Set(),
    received: [], nowMs: 0,
    children: new Map(), outbox: new Map(), isCancelled: false, account: undefined, held: new Map(),
    of: undefined, repeatedBy: undefined,
  };
}

export function hasEnded(row: Row | undefined): boolean {
  return row !== undefined && ["completed", "failed", "cancelled"].includes(row.status);
}

export function pageEvents(value: unknown): readonly Event[] {
  const [, , events] = value as readonly [number, Uint8Array, readonly Uint8Array[]];
  return events.map((bytes) => {
    const [, type, atMs, epoch, data] = decode(bytes, bytes.byteLength) as
      readonly [number, number, number, number, Readonly<Record<string, unknown>>];
    return { type, atMs, epoch, data };
  });
}

export function callIn({ data: { call } }: Event): string {
  return typeof call === "string" ? call : "";
}

/** The job ends, or a run of it does. */
export function isLast({ type }: Event): boolean {
  return type === E.completed || type === E.failed || type === E.cancelled || type === E.continued;
}
