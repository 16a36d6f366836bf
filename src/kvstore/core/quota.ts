// Owns: whether a transaction may make the store grow. Does not own: what the store weighs (state-rows.ts).
import { prefixOf, utf8Bytes, type KeyText } from "./key.ts";
import type { RefusedCommand } from "./state-machine.ts";
import { fieldBytes } from "./stored-entry.ts";
import { ENTRY_OVERHEAD_BYTES, weightOf, type StateRows } from "./state-rows.ts";
import type { CommandOp } from "./txn.ts";

/** Of the quota, on top of it, for the system's own keys: the cluster stays operable when its users have filled it. */
const RESERVE_PART = 20;
type PutOp = Extract<CommandOp, { kind: "put" }>;

const USER_PREFIX = prefixOf({ kind: "data" });

/** What is wrong with these operations, if they would take the store beyond its quota. */
export function refuseGrowth(
  ops: readonly CommandOp[],
  rows: StateRows,
  quotaBytes: number,
): RefusedCommand | undefined {
  // The exact answer costs more, and matters only near the quota.
  if (rows.liveBytes + growthAtMost(ops) <= quotaBytes) return undefined;
  const growth = exactGrowth(ops, rows);
  const limit = ops.some(isUserPut) ? quotaBytes : quotaBytes + Math.floor(quotaBytes / RESERVE_PART);
  const actual = rows.liveBytes + growth;
  if (growth <= 0 || actual <= limit) return undefined;
  const reason = `the store would weigh ${actual} bytes, its quota is ${limit}: delete something, or raise the quota`;
  return { kind: "refused", code: "E_QUOTA", reason, outcome: "not-applied", details: { limit, actual } };
}

function growthAtMost(ops: readonly CommandOp[]): number {
  let bytes = 0;
  // A character has three bytes of UTF-8 at most.
  for (const op of ops) if (op.kind === "put") bytes += weightOfPut(op, 3 * op.key.length);
  return bytes;
}

/** Of keys that several operations change, the last one counts. */
function exactGrowth(ops: readonly CommandOp[], rows: StateRows): number {
  const after = new Map<KeyText, number>();
  for (const op of ops) {
    if (op.kind === "put") after.set(op.key, weightOfPut(op, utf8Bytes(op.key)));
    if (op.kind === "delete") after.set(op.key, 0);
  }
  let bytes = 0;
  for (const [key, weight] of after) bytes += weight - weightOf(rows.read(key));
  return bytes;
}

function weightOfPut(put: PutOp, keyBytes: number): number {
  return keyBytes + fieldBytes(put.lease) + put.value.length + ENTRY_OVERHEAD_BYTES;
}

function isUserPut(op: CommandOp): boolean {
  return op.kind === "put" && op.key.startsWith(USER_PREFIX);
}
