// Owns: another version of the code for a job that nobody runs, as one transaction: the job is exactly as it was
// replayed, or nothing happens. Does not own: whether the version does what the log says (running/replays.ts), how a
// job that runs comes to rest (running/job-run.ts).
//
// Whoever moves a job is no owner of it, and appends an event all the same, as whoever is to become one does: row and
// head are compared, and a job without an owner has nobody else who appends.
import type { ArtifactId, Digest } from "../../../base/ids.ts";
import { formatKey } from "../../../kvstore/core/key.ts";
import type { Compare } from "../../../kvstore/core/schema.ts";
import type { Decision, JobView } from "../../ports.ts";
import type { JobEvent } from "../log/event.ts";
import type { JobRow } from "../rows.ts";
import { refuseStep, transition, type Change } from "./decide.ts";
import { queueRowOf } from "./hand-back.ts";
import { queueKey } from "./job-keys.ts";

export interface Move {
  readonly pin: Digest;
  /** What the job has run, and what it is to run. */
  readonly from: ArtifactId;
  readonly to: ArtifactId;
  readonly principal: string;
  readonly atMs: number;
}

/**
 * The job runs what this pin says from now on. It does not wait any more: the version may wait for something else. One
 * that is held since a restore stays held.
 */
export function decideMove(view: JobView, { pin, from, to, principal, atMs }: Move): Decision {
  const refused = refuseStep(view, "move");
  if (refused !== undefined) return refused;
  const event: JobEvent = {
    type: "job.moved", from: view.row.pin, to: pin, fromArtifact: from, toArtifact: to, principal,
  };
  const isThere: Compare = { key: formatKey({ kind: "job-pin", digest: pin }), target: "exists", op: "=", value: true };
  const row: JobRow = { ...(view.row.waiting?.reason === "restored" ? view.row : awake(view.row, atMs)), pin };
  return transition(view, { events: [event], atMs }, { row, then: queued(view, row), compare: [isThere] });
}

/** The job, which was asked to hold still, goes on with what it has. */
export function decideGoOn(view: JobView, atMs: number): Decision {
  const refused = refuseStep(view, "wake");
  if (refused !== undefined) return refused;
  const row = awake(view.row, atMs);
  return transition(view, { events: [], atMs }, { row, then: queued(view, row), compare: [] });
}

/** Tried as often as at first: a person has seen to it. */
function awake({ waiting: _waiting, ...row }: JobRow, atMs: number): JobRow {
  const sinceMs = row.status === "pending" ? row.sinceMs : atMs;
  return { ...row, status: "pending", claims: { atSeq: 0, count: 0 }, sinceMs };
}

function queued({ ref }: JobView, row: JobRow): Change["then"] {
  return row.status === "pending" ? [{ kind: "put", key: queueKey(ref), value: queueRowOf(row) }] : [];
}
