// Owns: a job that does another one again, as one transaction: its rows, with what it has of the old log and ledger.
// Does not own: from where it begins (repeat.ts).
//
// Two jobs with the same effect ids that run at the same time could make the same call twice. So a job is done again
// once, when it has ended; then it is the new one that can be done again.
// JOB15  Of a job and those that do it again one at most has not ended.
import type { Digest, JobId } from "../../../base/ids.ts";
import { unchanged } from "../../../kvstore/core/guards.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import { formatKey, type KeyText } from "../../../kvstore/core/key.ts";
import type { Compare, Op, Txn, TxnResult } from "../../../kvstore/core/schema.ts";
import { KiB } from "../../../base/units.ts";
import type { JobView } from "../../ports.ts";
import { AccountFold, minus, plus, type Account, type Amount } from "../budget/account.ts";
import { LedgerFold } from "../explain/ledger-fold.ts";
import { refOf, type JobUid } from "../ids.ts";
import { blobOf, encodeEvent, type JobEvent } from "../log/event.ts";
import { nextLink } from "../log/chain.ts";
import { PAGE_EVENTS_MAX } from "../log/page.ts";
import { naming, type BlobRef } from "../payloads/blob.ts";
import { headValue, pageValue, parseJobSpec, parseRepeatRow, type JobHead, type RepeatRow } from "../rows.ts";
import type { ToolRow } from "../tools/tool-row.ts";
import { decideStart, type StartContext } from "./decide-start.ts";
import { refuse, type Refused } from "./decide.ts";
import { headKey, queueKey, rowKey, toolKey } from "./job-keys.ts";
import { queueRowOf } from "./hand-back.ts";
import type { OldEvent, RepeatPlan } from "./repeat.ts";

/** Of the old log: one transaction has 1 MiB at most. */
export const REPEATED_BYTES_MAX = 768 * KiB;
/** Rows of the new job: a transaction has 128 operations, with what it reads when it is refused. */
export const REPEATED_ROWS_MAX = 120;
const PAGE_BYTES_MAX = 256 * KiB;

export interface Repeat {
  readonly kind: "retry" | "fork";
  readonly old: JobView;
  readonly oldTools: readonly ToolRow[];
  readonly plan: RepeatPlan;
  readonly job: JobId;
  readonly uid: JobUid;
  readonly pin: Digest;
  readonly input: unknown;
  readonly inputBlob?: BlobRef;
  readonly inputDigest: Digest;
  /** Absent where nobody records traces. */
  readonly traceparent?: string;
  readonly atMs: number;
}

type LogEvent = Pick<OldEvent, "event" | "epoch" | "bytes">;

export interface RepeatTransition {
  readonly kind: "transition";
  readonly txn: Txn;
  readonly job: JobId;
  readonly uid: JobUid;
}

/** Where it is said that a job was done again, and by which one. */
export function repeatKey(ref: JobRef): KeyText {
  return formatKey({ kind: "job-repeat", ...ref });
}

export function decideRepeat(repeat: Repeat): RepeatTransition | Refused {
  const { old, plan, job, uid, atMs, kind } = repeat;
  const start = decideStart(startOf(repeat));
  if (start.kind === "refused") return start;
  const ref = refOf(job);
  const { epoch } = old.row;
  const { spent, account } = accountOf(repeat, start.next.head.account);
  const from: JobEvent = { type: "job.repeated", of: old.ref.job, kind, ...(spent !== undefined && { spent }) };
  const begin: LogEvent = { event: from, epoch, bytes: encodeEvent(from, { atMs, epoch }) };
  const log = [...plan.kept, begin, ...plan.ends];
  const { head, pages } = pagesOf(ref, start.next.head, log);
  if (head.bytes > REPEATED_BYTES_MAX) {
    return refuse("E_TOO_LARGE", `what it keeps of the log has ${head.bytes} bytes`, {
      limit: REPEATED_BYTES_MAX, actual: head.bytes,
    });
  }
  const { rows, open } = ledgerOf(log, repeat.oldTools, start.next.head.seq);
  const next: JobHead = {
    ...head, openEffects: open, steps: plan.kept.filter(({ event }) => isStep(event)).length,
    ...(account !== undefined && { account }),
  };
  const row = {
    ...start.next.row, epoch, ...(old.row.restored !== undefined && { restored: { seq: next.seq, inbox: 0 } }),
  };
  const named = naming(ref, log.flatMap(({ event }) => blobOf(event) ?? []), atMs);
  const replaced = new Set<KeyText>([headKey(ref), rowKey(ref), queueKey(ref)]);
  const said: RepeatRow = { job };
  const then: readonly Op[] = [
    ...start.txn.then.filter((op) => !replaced.has(op.key)),
    { kind: "put", key: rowKey(ref), value: row },
    { kind: "put", key: headKey(ref), value: headValue(next) },
    { kind: "put", key: queueKey(ref), value: queueRowOf(row) },
    ...pages,
    ...named.then,
    ...rows.map((tool): Op => ({ kind: "put", key: toolKey(ref, next.run, tool.effectId), value: tool })),
    { kind: "put", key: repeatKey(old.ref), value: said },
  ];
  if (then.length > REPEATED_ROWS_MAX) {
    return refuse("E_TOO_LARGE", `what it keeps of log and ledger is ${then.length} rows`, {
      limit: REPEATED_ROWS_MAX, actual: then.length,
    });
  }
  const compare: readonly Compare[] = [
    ...start.txn.compare,
    ...named.compare,
    unchanged(rowKey(old.ref), old.rowRevision),
    unchanged(repeatKey(old.ref), 0),
  ];
  // First whether the old job was done again, then what a start reads.
  const reads: readonly Op[] = [{ kind: "get", key: repeatKey(old.ref) }, ...start.txn.else];
  return { kind: "transition", txn: { compare, then, else: reads }, job, uid };
}

export type RepeatEnd =
  | { readonly kind: "started"; readonly isNew: boolean }
  | { readonly kind: "repeated"; readonly job: JobId }
  | { readonly kind: "id-taken" | "pin-gone" };

/** @throws AetherError E_DATA_CORRUPT */
export function judgeRepeat({ job, uid }: RepeatTransition, { succeeded, results }: TxnResult): RepeatEnd {
  if (succeeded) return { kind: "started", isNew: true };
  const entries = results.map((result) => (result.kind === "get" ? result.entry : undefined));
  const [said, , spec] = entries;
  // An earlier copy of this very transaction was applied, or the same was asked for with this id before.
  if (spec !== undefined && parseJobSpec(spec.value).uid === uid) return { kind: "started", isNew: true };
  const before = said === undefined ? undefined : parseRepeatRow(said.value).job;
  if (before === job) return { kind: "started", isNew: false };
  if (before !== undefined) return { kind: "repeated", job: before };
  return { kind: spec === undefined ? "pin-gone" : "id-taken" };
}

function startOf({ old, job, uid, pin, input, inputBlob, inputDigest, traceparent, atMs }: Repeat): StartContext {
  const { agent, tenant, queueClass, priority, attributes, labels, agentMax, run } = old.row;
  const { effectUid, maxDurationMs } = old.spec;
  const budget = old.head.account?.limit;
  return {
    job, uid, effectUid, agent, tenant, pin, input, inputDigest, queueClass, priority, attributes, run, atMs,
    ...(inputBlob !== undefined && { inputBlob }),
    ...(traceparent !== undefined && { traceparent }),
    needs: {
      ...(labels !== undefined && { labels }),
      ...(agentMax !== undefined && { agentMax }),
      ...(maxDurationMs !== undefined && { maxDurationMs }),
      ...(budget !== undefined && { budget }),
    },
  };
}

/**
 * Both jobs have one budget: what the old one has spent the new one has too, what of it is not in the log that it keeps
 * as `spent` of the event by which it begins.
 */
function accountOf(
  { old, plan }: Repeat, opened: Account | undefined,
): { readonly spent?: Amount; readonly account?: Account } {
  const { account: before } = old.head;
  if (before === undefined || opened === undefined) return {};
  const fold = new AccountFold(opened);
  for (const { event } of [...plan.kept, ...plan.ends]) fold.add(event);
  const { account = opened } = fold;
  const spent = minus(plus(before.spent, before.reserved), plus(account.spent, account.reserved));
  return { spent, account: { ...account, spent: plus(account.spent, spent) } };
}

function pagesOf(
  ref: JobRef, after: JobHead, log: readonly LogEvent[],
): { readonly head: JobHead; readonly pages: readonly Op[] } {
  const pages: Op[] = [];
  let head = after;
  let prev = head.link;
  let events: Uint8Array[] = [];
  const close = (): void => {
    if (events.length === 0) return;
    const seq = head.seq - events.length + 1;
    pages.push({
      kind: "put", key: formatKey({ kind: "job-page", ...ref, run: head.run, seq }), value: pageValue({ prev, events }),
    });
    events = [];
  };
  let pageBytes = 0;
  for (const { bytes } of log) {
    if (events.length === PAGE_EVENTS_MAX || pageBytes + bytes.byteLength > PAGE_BYTES_MAX) {
      close();
      pageBytes = 0;
    }
    if (events.length === 0) prev = head.link;
    const seq = head.seq + 1;
    head = { ...head, seq, link: nextLink(head.link, seq, bytes), bytes: head.bytes + bytes.byteLength };
    events.push(bytes);
    pageBytes += bytes.byteLength;
  }
  close();
  return { head, pages };
}

/** The ledger as the log tells it; `before` events stand in front of it. */
function ledgerOf(
  log: readonly LogEvent[], oldTools: readonly ToolRow[], before: number,
): { readonly rows: readonly ToolRow[]; readonly open: number } {
  const fold = new LedgerFold();
  log.forEach(({ event, epoch }, index) => fold.add(event, { seq: before + index + 1, epoch }));
  return { rows: oldTools.flatMap((row) => fold.rowAs(row) ?? []), open: fold.open };
}

function isStep({ type }: JobEvent): boolean {
  return type === "step.completed" || type === "step.failed";
}
