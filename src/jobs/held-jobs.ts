// Owns: what becomes of the rows of jobs when a cluster begins from a backup: every job that has not ended is held, and
// nothing is left that would let a node run it.
// Does not own: what a held job is (core/life/hold.ts), who applies this (node/plant-state.ts).
import type { JobRef } from "../kvstore/core/job-key.ts";
import { knownKey, prefixOf, type KeyText } from "../kvstore/core/key.ts";
import { leaveOut, type RowFate, type SeedRule } from "../kvstore/state-seed.ts";
import { readUndamaged } from "../slices/core/damaged-row.ts";
import { heldRow } from "./core/life/hold.ts";
import { headKey, inboxCountKey } from "./core/life/job-keys.ts";
import { parseInboxCount, parseJobHead, parseJobRow, type RestoredPoint } from "./core/rows.ts";

/** Timers stay: what fires is in the inbox of its job by the time the job goes on. */
export const HELD_JOBS: readonly SeedRule[] = [
  leaveOut(prefixOf({ kind: "job-queue" })),
  leaveOut(prefixOf({ kind: "job-owned" })),
  leaveOut(prefixOf({ kind: "job-beats" })),
  leaveOut(prefixOf({ kind: "job-permits" })),
  {
    prefix: prefixOf({ kind: "jobs" }),
    fateOf: ({ key: text, value }, read) => {
      const key = knownKey(text);
      if (key?.kind !== "job") return { kind: "keep" };
      const { partition, job } = key;
      return fateOf({ partition, job }, value, read);
    },
  },
];

function fateOf(ref: JobRef, value: unknown, read: (key: KeyText) => unknown): RowFate {
  // A row that does not parse is run by nobody: it is not in the queue any more.
  const row = readUndamaged(() => parseJobRow(value));
  const held = row === undefined ? undefined : heldRow(row, pointOf(ref, read));
  return held === undefined ? { kind: "keep" } : { kind: "put", value: held };
}

/** With a damaged head or count a job never goes on; should somebody mend it, then everything is in doubt. */
function pointOf(ref: JobRef, read: (key: KeyText) => unknown): RestoredPoint {
  const head = readUndamaged(() => parseJobHead(read(headKey(ref))));
  const count = read(inboxCountKey(ref));
  const inbox = count === undefined ? { last: 0 } : readUndamaged(() => parseInboxCount(count));
  return { seq: head?.seq ?? Number.MAX_SAFE_INTEGER, inbox: inbox?.last ?? Number.MAX_SAFE_INTEGER };
}
