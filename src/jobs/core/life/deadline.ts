// Owns: the longest duration of a job: the row of its timer, what its log says of a cancel by it, and how a job ends
// that took longer. Does not own: what the code of such a job is told, which is a cancel (run/plan-maker.ts), and
// firing the timer (timer-driver.ts).
import { formatKey, type KeyText } from "../../../kvstore/core/key.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import type { Op } from "../../../kvstore/core/schema.ts";
import { durationText } from "../../../sdk/duration.ts";
import type { InboxEntry } from "../flow/inbox-entry.ts";
import type { JobEvent } from "../log/event.ts";
import type { JobResult, JobSpec, TimerRow } from "../rows.ts";

export type Lasting = Pick<JobSpec, "createdMs" | "maxDurationMs">;

/** The names of calls begin with a slash. */
const NAME = "deadline";

/** What a job is told when its time is over. */
export const TIME_IS_OVER: InboxEntry = { kind: "cancel", principal: "aether", reason: "deadline" };

/** Wall time at which the job is asked to end; undefined for one that may take as long as it likes. */
export function deadlineOf({ createdMs, maxDurationMs }: Lasting): number | undefined {
  return maxDurationMs === undefined ? undefined : Math.floor(createdMs) + maxDurationMs;
}

export function deadlineSet(ref: JobRef, spec: Lasting): readonly Op[] {
  const value: TimerRow = { deadline: true };
  return deadlineKeys(ref, spec).map((key): Op => ({ kind: "put", key, value }));
}

/** Of a job that has ended; the row may have gone before. */
export function deadlineCleared(ref: JobRef, spec: Lasting): readonly Op[] {
  return deadlineKeys(ref, spec).map((key): Op => ({ kind: "delete", key }));
}

/** Whether a job was asked to end, and whether its deadline was the first to ask. */
export interface CancelFacts {
  readonly isCancelled: boolean;
  readonly isOverdue: boolean;
}

export const NOT_CANCELLED: CancelFacts = { isCancelled: false, isOverdue: false };

export function cancelAfter(before: CancelFacts, event: JobEvent): CancelFacts {
  if (event.type !== "job.cancel-requested" || before.isCancelled) return before;
  return { isCancelled: true, isOverdue: event.reason === "deadline" };
}

/** How a job ends whose code did as it was told when its time was over. */
export function overdueEnd({ maxDurationMs = 0 }: Lasting): JobResult {
  const message = `the job took longer than its longest duration of ${durationText(maxDurationMs)}`;
  return { kind: "failed", error: { name: "AetherError", code: "E_TIMEOUT", message } };
}

function deadlineKeys(ref: JobRef, spec: Lasting): readonly KeyText[] {
  const dueMs = deadlineOf(spec);
  return dueMs === undefined ? [] : [formatKey({ kind: "job-timer", ...ref, dueMs, name: NAME })];
}
