// Owns: which changes of a transaction a watcher sees.
import { unreachable } from "../../base/assert.ts";
import type { PastChange } from "./history-row.ts";
import type { KvChange } from "./schema.ts";
import { toKvEntry } from "./stored-entry.ts";

/** The changes whose key begins with one of the prefixes, in the order of the transaction. */
export function matchChanges(prefixes: readonly string[], changes: readonly PastChange[]): readonly PastChange[] {
  const matches = ({ key }: PastChange): boolean => {
    // Asked for each change and each watcher: a loop is several times faster than `some`.
    for (const prefix of prefixes) if (key.startsWith(prefix)) return true;
    return false;
  };
  const matching = changes.filter(matches);
  return matching.length === changes.length ? changes : matching;
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
