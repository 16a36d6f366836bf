// Owns: what became of a transition: it was applied, or what its job's rows say after it was refused.
// Does not own: proposing it, and reading those rows (job-store.ts).
//
// The rows are read by a transaction of their own, because almost none is refused and each carries its reads to every
// node. What happens in between changes no verdict: of a job that has another owner by then this one is fenced.
//
// A transition whose outcome was unknown is proposed again as it is. When the second copy is refused, the head tells
// whether it was the first one that changed it: its link names exactly these events of this job and epoch.
import type { KvEntry, Op, Txn, TxnResult } from "../../../kvstore/core/schema.ts";
import type { JobView, Transition, Verdict } from "../../ports.ts";
import { isSameLink } from "../log/chain.ts";
import { parseInboxCount, parseJobHead, parseJobRow, type JobHead, type JobRow } from "../rows.ts";
import { headKey, inboxCountKey, rowKey } from "./job-keys.ts";

/** The job after a transition that was applied at this revision. */
export function settle({ txn, next }: Transition, revision: number): JobView {
  const row = rowKey(next.ref);
  const isPhase = txn.then.some(({ kind, key }) => kind === "put" && key === row);
  return { ...next, rowRevision: isPhase ? revision : next.rowRevision, headRevision: revision };
}

/** Reads, all of one revision, what `judgeRefusal` goes by. */
export function readForJudgement({ next: { ref } }: Transition): Txn {
  const keys = [rowKey(ref), headKey(ref), inboxCountKey(ref)];
  return { compare: [], then: keys.map((key): Op => ({ kind: "get", key })), else: [] };
}

/** @throws AetherError E_DATA_CORRUPT when a row that was found does not parse */
export function judgeRefusal(transition: Transition, { results }: Pick<TxnResult, "results">): Verdict {
  const [row, head, count] = results.map((result) => (result.kind === "get" ? result.entry : undefined));
  const { next } = transition;
  if (row === undefined || head === undefined) return { kind: "fenced" };
  if (isHeadOf(next, parseJobHead(head.value))) {
    const view = viewOf(next, row, head, count);
    // Applied, but meanwhile the job was taken from this owner.
    return isOwnedAs(next.row, view.row) ? { kind: "applied", view } : { kind: "fenced" };
  }
  if (row.modRevision !== next.rowRevision) return { kind: "fenced" };
  if (head.modRevision !== next.headRevision) return { kind: "corrupt" };
  return { kind: hasInboxMoved(transition, count) ? "inbox-not-empty" : "contended" };
}

/** `folded` tells apart what appends no event. */
function isHeadOf({ head }: JobView, found: JobHead): boolean {
  return found.run === head.run && isSameLink(found.link, head.link) && found.folded === head.folded;
}

/** Whoever gives the job away by a transition does not mind who has it then. */
function isOwnedAs(wanted: JobRow, found: JobRow): boolean {
  return wanted.owner === undefined || (found.owner !== undefined && found.epoch === wanted.epoch);
}

function viewOf(next: JobView, row: KvEntry, head: KvEntry, count: KvEntry | undefined): JobView {
  return {
    ref: next.ref,
    row: parseJobRow(row.value),
    rowRevision: row.modRevision,
    head: parseJobHead(head.value),
    headRevision: head.modRevision,
    spec: next.spec,
    inbox: { last: count === undefined ? 0 : parseInboxCount(count.value).last, revision: count?.modRevision ?? 0 },
  };
}

function hasInboxMoved({ txn, next }: Transition, count: KvEntry | undefined): boolean {
  const key = inboxCountKey(next.ref);
  return txn.compare.some((guard) => guard.key === key) && (count?.modRevision ?? 0) !== next.inbox.revision;
}
