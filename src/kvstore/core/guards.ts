// Owns: the guard that most transactions of ours have: nothing has happened to a key since it was read.
import type { KeyText } from "./key.ts";
import type { Compare } from "./schema.ts";

/** Holds while the key is as it was seen: at the revision that it had then, 0 when it was absent. */
export function unchanged(key: KeyText, modRevision: number): Compare {
  return { key, target: "modRevision", op: "=", value: modRevision };
}
