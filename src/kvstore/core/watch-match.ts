// Owns: which changes of a transaction a watcher sees.
import { unreachable } from "../../base/assert.ts";
import type { PastChange } from "./history-row.ts";
import type { KvChange } from "./schema.ts";
import { toKvEntry } from "./stored-entry.ts";

/** The changes whose key begins with `prefix`, in the order of the transaction. */
export function matchChanges(prefix: string, changes: readonly PastChange[]): readonly PastChange[] {
  if (changes.every((change) => change.key.startsWith(prefix))) return changes;
  return changes.filter((change) => change.key.startsWith(prefix));
}

/** The change as watchers see it. */
export function toKvChange(change: PastChange): KvChange {
  switch (change.kind) {
    case "put":
      return { kind: "put", entry: toKvEntry(change.key, change.entry) };
    case "delete":
      return { kind: "delete", key: change.key, modRevision: change.modRevision };
    default:
      return unreachable(change);
  }
}
