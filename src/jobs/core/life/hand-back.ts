// Owns: the transaction that takes jobs from a node that is taken for dead and puts them back into the queue, from
// where any node claims them. It appends no event: only an owner does.
import type { NodeId } from "../../../base/ids.ts";
import { unchanged } from "../../../kvstore/core/guards.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import type { Compare, Op, Txn } from "../../../kvstore/core/schema.ts";
import type { JobRow, QueueRow } from "../rows.ts";
import { ownedKey, permitKey, queueKey, rowKey } from "./job-keys.ts";

/** Guards and changes of one transaction, below the 128 that it may have: one guard is for the whole. */
const OPS_MAX = 120;
/** Of one job: a guard, its row, its place in the queue, and that it is owned. */
const OPS_PER_JOB = 4;

export interface OwnedJob {
  readonly ref: JobRef;
  readonly row: JobRow;
  readonly rowRevision: number;
}

/** The job as it waits for any node. Its epoch rises with the next claim; its old owner fails at the row already. */
export function handedBack(row: JobRow, nowWallMs: number): JobRow {
  return { ...withoutOwner(row), status: "pending", sinceMs: nowWallMs };
}

/** The row without what only a running job has. */
export function withoutOwner({ owner: _owner, permits: _permits, ...row }: JobRow): JobRow {
  return row;
}

/** What goes from the store with a job's owner: that it is owned, and the places that it has. */
export function disown(ref: JobRef, { owner, permits = [] }: JobRow, node = owner?.node): readonly Op[] {
  const owned = node === undefined ? [] : [ownedKey(node, ref)];
  return [...owned, ...permits.map(permitKey)].map((key): Op => ({ kind: "delete", key }));
}

/** As many jobs at a time as one transaction hands back. */
export function handBackParts(jobs: readonly OwnedJob[]): readonly (readonly OwnedJob[])[] {
  const parts: OwnedJob[][] = [];
  let ops = OPS_MAX;
  for (const job of jobs) {
    const own = OPS_PER_JOB + (job.row.permits?.length ?? 0);
    ops += own;
    if (ops <= OPS_MAX) parts.at(-1)?.push(job);
    else parts.push([job]);
    if (ops > OPS_MAX) ops = own;
  }
  return parts;
}

/** A job that was started earlier goes first. */
export function queueRowOf(row: JobRow): QueueRow {
  const { agent, tenant, queueClass, priority, createdMs, labels, agentMax } = row;
  return {
    agent, tenant, queueClass, priority, sinceMs: createdMs,
    ...(labels !== undefined && { labels }), ...(agentMax !== undefined && { agentMax }),
  };
}

/**
 * `guard`: that the node is still taken for dead; none for a node's own jobs. All `jobs` are running on the node, and
 * are one of `handBackParts`.
 */
export function handBackTxn(
  from: NodeId, jobs: readonly OwnedJob[], guard: Compare | undefined, nowWallMs: number,
): Txn {
  const compare: Compare[] = guard === undefined ? [] : [guard];
  const then: Op[] = [];
  for (const { ref, row, rowRevision } of jobs) {
    const key = rowKey(ref);
    compare.push(unchanged(key, rowRevision));
    then.push(
      { kind: "put", key, value: handedBack(row, nowWallMs) },
      { kind: "put", key: queueKey(ref), value: queueRowOf(row) },
      ...disown(ref, row, from),
    );
  }
  return { compare, then, else: [] };
}
