// Owns: what the rows of jobs say has happened, as far as it is an event of the cluster.
//
// This is asked for each change of each job: no rows are kept, and of a row only what is said is looked at. A row
// changes when its job enters another phase, so each of these changes is said once.
import { unreachable } from "../../../base/assert.ts";
import { prefixOf } from "../../../kvstore/core/key.ts";
import type { EventDraft } from "../../../metrics/events/core/event.ts";
import { eventRule } from "../../../metrics/events/core/event-rule.ts";
import { JOB_STATUSES, type JobRow, type WaitReason } from "../rows.ts";

const STATUSES: ReadonlySet<unknown> = new Set(JOB_STATUSES);

/** What a job waits for that only a person ends. */
const WAITS_FOR_PERSON: ReadonlySet<string> = new Set<WaitReason>([
  "approval", "budget", "unknown", "stuck", "restored",
]);

/** What is looked at. */
type SeenRow = Pick<JobRow, "agent" | "status" | "sinceMs" | "waiting" | "collectedMs">;

export const JOB_EVENTS = eventRule<SeenRow>({
  prefix: prefixOf({ kind: "jobs" }),
  keepsRows: false,
  // The row as it is stored: a damaged one is found by whoever owns the job.
  read: (key, value) => (key.kind === "job" && isSeenRow(value) ? value : undefined),
  derive: ({ key, entry, after }) => {
    // A row whose job was collected says once more how it ended.
    if (key.kind !== "job" || entry === undefined || after?.collectedMs !== undefined || after === undefined) return [];
    const fields = { job: key.job, agent: after.agent };
    const { sinceMs: atMs } = after;
    const isNew = entry.createRevision === entry.modRevision;
    const ended = stateEvents(after, fields);
    return isNew ? [{ kind: "job.started", fields, atMs }, ...ended] : ended;
  },
});

function stateEvents(row: SeenRow, fields: { readonly job: string; readonly agent: string }): readonly EventDraft[] {
  const { status, waiting, sinceMs: atMs } = row;
  switch (status) {
    case "pending":
    case "running":
      return [];
    case "waiting": {
      if (waiting === undefined || !WAITS_FOR_PERSON.has(waiting.reason)) return [];
      const { reason, why } = waiting;
      return [{ kind: "job.waits-for-person", fields: { ...fields, reason, ...(why !== undefined && { why }) }, atMs }];
    }
    case "completed":
      return [{ kind: "job.completed", fields, atMs }];
    case "failed":
      return [{ kind: "job.failed", fields, atMs }];
    case "cancelled":
      return [{ kind: "job.cancelled", fields, atMs }];
    default:
      return unreachable(status);
  }
}

function isSeenRow(value: unknown): value is SeenRow {
  if (typeof value !== "object" || value === null) return false;
  const { agent, status, sinceMs } = value as Partial<Record<keyof SeenRow, unknown>>;
  return typeof agent === "string" && typeof sinceMs === "number" && STATUSES.has(status);
}
