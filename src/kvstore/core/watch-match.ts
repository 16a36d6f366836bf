// Owns: which changes of a transaction a watcher sees, and what they weigh in its buffer.
import { unreachable } from "../../base/assert.ts";
import type { KvChange } from "./schema.ts";
import type { StoredChange } from "./state-machine.ts";
import { toKvEntry } from "./stored-entry.ts";

/** Weight of a change beside its bytes. */
const CHANGE_OVERHEAD_BYTES = 100;

/** The changes whose key begins with `prefix`, in the order of the transaction. */
export function matchChanges(prefix: string, changes: readonly StoredChange[]): readonly StoredChange[] {
  if (changes.every((change) => change.key.startsWith(prefix))) return changes;
  return changes.filter((change) => change.key.startsWith(prefix));
}

export function bytesOfChanges(changes: readonly StoredChange[]): number {
  let bytes = 0;
  for (const change of changes) {
    bytes += CHANGE_OVERHEAD_BYTES + (change.kind === "put" ? change.entry.block.length : change.key.length);
  }
  return bytes;
}

export function bytesOfEntriesBefore(changes: readonly StoredChange[]): number {
  let bytes = 0;
  for (const { before } of changes) bytes += before?.block.length ?? 0;
  return bytes;
}

/** The change as watchers see it. */
export function toKvChange(change: StoredChange): KvChange {
  switch (change.kind) {
    case "put":
      return { kind: "put", entry: toKvEntry(change.key, change.entry) };
    case "delete":
      return { kind: "delete", key: change.key, modRevision: change.modRevision };
    default:
      return unreachable(change);
  }
}
