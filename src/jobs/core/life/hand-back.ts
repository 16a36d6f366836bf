// Owns: the transaction that takes jobs from a node that is taken for dead and puts them back into the queue, from
// where any node claims them. It appends no event: only an owner does.
import type { NodeId } from "../../../base/ids.ts";
import { unchanged } from "../../../kvstore/core/guards.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import type { Compare, Op, Txn } from "../../../kvstore/core/schema.ts";
import type { JobRow, QueueRow } from "../rows.ts";
import { ownedKey, queueKey, rowKey } from "./job-keys.ts";

/** Jobs of one transaction: three changes and a guard for each, 128 operations at most. */
export const HAND_BACK_JOBS_MAX = 30;

export interface OwnedJob {
  readonly ref: JobRef;
  readonly row: JobRow;
  readonly rowRevision: number;
}

/** The job as it waits for any node. Its epoch rises with the next claim; its old owner fails at the row already. */
export function handedBack(row: JobRow, nowWallMs: number): JobRow {
  const { owner: _owner, ...rest } = row;
  return { ...rest, status: "pending", sinceMs: nowWallMs };
}

/** A job that was started earlier goes first. */
export function queueRowOf(row: JobRow): QueueRow {
  const { agent, tenant, queueClass, priority, createdMs } = row;
  return { agent, tenant, queueClass, priority, sinceMs: createdMs };
}

/** `guard`: that the node is still taken for dead; none for a node's own jobs. All `jobs` are running on the node. */
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
      { kind: "delete", key: ownedKey(from, ref) },
    );
  }
  return { compare, then, else: [] };
}
