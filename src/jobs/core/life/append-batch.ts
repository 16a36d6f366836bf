// Owns: what one append changes, as operations of its transaction, and the head after it.
// Does not own: whether the job may be appended to, and what becomes of its status (decide.ts).
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import { formatKey } from "../../../kvstore/core/key.ts";
import type { Compare, Op } from "../../../kvstore/core/schema.ts";
import { appendToLog, PAGE_EVENTS_MAX, PAGE_EVENT_BYTES_MAX } from "../log/page.ts";
import type { Account } from "../budget/account.ts";
import type { JobEvent } from "../log/event.ts";
import { headValue, pageValue, type CallTimerRow, type JobHead } from "../rows.ts";
import type { ToolRow, ToolState } from "../tools/tool-row.ts";
import { headKey, inboxKey, toolKey } from "./job-keys.ts";

/** A timer, as its key names it. */
export interface TimerName {
  readonly dueMs: number;
  readonly name: string;
}

/** A row of the ledger as it becomes, and the state that it was in. */
export interface ToolChange {
  readonly row: ToolRow;
  readonly before: ToolState | "none";
}

/** What the owner of a job adds to it in one transaction. */
export interface AppendBatch {
  /** 64 at most, see PAGE_EVENTS_MAX; none when only rows change. */
  readonly events: readonly JobEvent[];
  /** Wall time of the proposer; for people. */
  readonly atMs: number;
  /** Rows of the ledger. The events that made them are in the same batch. */
  readonly tools?: readonly ToolChange[];
  /** Entries of the inbox that are in these events, or that nobody wants any more. */
  readonly folded?: readonly number[];
  /** Of a job with a budget, after these events; absent where they change nothing of it. */
  readonly account?: Account;
  readonly timersSet?: readonly (TimerName & CallTimerRow)[];
  readonly timersCleared?: readonly TimerName[];
  /** Index rows that follow from the events. */
  readonly also?: readonly Op[];
  /** What has to hold besides; when it does not, the append is `contended`. */
  readonly guards?: readonly Compare[];
}

/** Where a batch is appended: the log's end, and the epoch of who does it. */
export interface AppendPlace {
  readonly ref: JobRef;
  readonly head: JobHead;
  readonly epoch: number;
}

export type BatchResult =
  | {
    readonly kind: "appended";
    readonly head: JobHead;
    /** The events, as stored. */
    readonly log: readonly Uint8Array[];
    readonly then: readonly Op[];
  }
  | { readonly kind: "too-large"; readonly reason: string; readonly limit: number; readonly actual: number };

export function applyBatch({ ref, head, epoch }: AppendPlace, batch: AppendBatch): BatchResult {
  const { events, atMs, tools = [], folded = [], timersSet = [], timersCleared = [], also = [] } = batch;
  if (events.length > PAGE_EVENTS_MAX) return tooLarge("events", PAGE_EVENTS_MAX, events.length);
  const { page, seq, link, bytes } = appendToLog(head, events, { atMs, epoch });
  if (bytes > PAGE_EVENT_BYTES_MAX) return tooLarge("bytes", PAGE_EVENT_BYTES_MAX, bytes);
  const account = batch.account ?? head.account;
  const next: JobHead = {
    run: head.run,
    seq,
    link,
    bytes: head.bytes + bytes,
    folded: head.folded + folded.length,
    openEffects: head.openEffects + tools.reduce((count, change) => count + openedBy(change), 0),
    steps: head.steps + events.filter(isStep).length,
    ...(account !== undefined && { account }),
  };
  const then: Op[] = [{ kind: "put", key: headKey(ref), value: headValue(next) }];
  if (events.length > 0) {
    const key = formatKey({ kind: "job-page", ...ref, run: head.run, seq: head.seq + 1 });
    then.push({ kind: "put", key, value: pageValue(page) });
  }
  for (const { row } of tools) then.push({ kind: "put", key: toolKey(ref, head.run, row.effectId), value: row });
  for (const n of folded) then.push({ kind: "delete", key: inboxKey(ref, n) });
  for (const timer of timersCleared) then.push({ kind: "delete", key: timerKey(ref, timer) });
  for (const { call, ...timer } of timersSet) then.push({ kind: "put", key: timerKey(ref, timer), value: { call } });
  then.push(...also);
  return { kind: "appended", head: next, log: page.events, then };
}

function timerKey(ref: JobRef, { dueMs, name }: TimerName): Op["key"] {
  return formatKey({ kind: "job-timer", ...ref, dueMs, name });
}

function openedBy({ row, before }: ToolChange): number {
  return Number(isOpen(row.state)) - Number(isOpen(before));
}

/** Whether a job must not end before this has an outcome. */
function isOpen(state: ToolState | "none"): boolean {
  return state === "granted" || state === "unknown";
}

function isStep({ type }: JobEvent): boolean {
  return type === "step.completed" || type === "step.failed";
}

function tooLarge(what: "events" | "bytes", limit: number, actual: number): BatchResult {
  return { kind: "too-large", reason: `${actual} ${what} in one append, ${limit} at most`, limit, actual };
}
