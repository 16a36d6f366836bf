// Owns: what becomes of a job when its cluster begins anew from a backup. The old cluster may have gone on after the
// backup, so that the job may have done more in the world than its log says: it goes on when a person lets it.
// JOB13  A job that comes from a backup runs when a person lets it, and makes no `once` call that may have been made.
// Does not own: what it does then about calls that may have happened (core/tools), and reading the rows (held-jobs.ts).
import type { JobRow, RestoredPoint, Waiting } from "../rows.ts";
import { withoutOwner } from "./hand-back.ts";
import { hasEnded } from "./job-life.ts";

const HELD: Waiting = {
  reason: "restored", on: [],
  why: "it comes from a backup, and may have done more since: aether job release lets it go on",
};

/**
 * The row of a job that nobody owns and nothing wakes but a release; undefined for one that has ended. No time is in
 * it: every node that restores the backup makes the same row.
 */
export function heldRow(row: JobRow, at: RestoredPoint): JobRow | undefined {
  if (hasEnded(row.status)) return undefined;
  return { ...withoutOwner(row), status: "waiting", waiting: HELD, claims: { atSeq: 0, count: 0 }, restored: at };
}
