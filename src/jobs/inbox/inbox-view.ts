// Owns: reading what a writer of inbox entries has to know of a job.
import type { CallOptions } from "../../env/env.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import type { KvEntry, OpResult } from "../../kvstore/core/schema.ts";
import type { Consistency, Kv } from "../../kvstore/kv.ts";
import type { InboxView } from "../core/life/decide-inbox.ts";
import { headKey, inboxCountKey, rowKey } from "../core/life/job-keys.ts";
import { parseInboxCount, parseJobHead, parseJobRow } from "../core/rows.ts";

/** Undefined when there is no such job. @throws AetherError E_DATA_CORRUPT, and as reads of the store do */
export async function readInboxView(
  kv: Pick<Kv, "get">,
  ref: JobRef,
  options: CallOptions & { readonly consistency: Consistency },
): Promise<InboxView | undefined> {
  const keys = [rowKey(ref), inboxCountKey(ref), headKey(ref)];
  const [row, count, head] = await Promise.all(keys.map((key) => kv.get(key, options)));
  return viewOf(ref, row?.entry, count?.entry, head?.entry);
}

/** From what a refused transaction of `decideInbox` has read. */
export function inboxViewOf(ref: JobRef, results: readonly OpResult[]): InboxView | undefined {
  const [row, count, head] = results.map((result) => (result.kind === "get" ? result.entry : undefined));
  return viewOf(ref, row, count, head);
}

function viewOf(
  ref: JobRef, row: KvEntry | undefined, count: KvEntry | undefined, head: KvEntry | undefined,
): InboxView | undefined {
  if (row === undefined) return undefined;
  return {
    ref,
    row: parseJobRow(row.value),
    rowRevision: row.modRevision,
    inbox: { last: count === undefined ? 0 : parseInboxCount(count.value).last, revision: count?.modRevision ?? 0 },
    folded: head === undefined ? 0 : parseJobHead(head.value).folded,
  };
}
