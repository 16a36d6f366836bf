// Owns: what jobs may add to a store that is full. New jobs, and what users store, end at the quota; then steps, calls,
// waits and large values end at half of what the store has in reserve (kvstore/core/quota.ts). The rest is for what
// became of calls, for ends, and for what people say: the store does not refuse the truth about a call that went out.
// Nor does a log that is full.
import type { StoreUsage } from "../../kvstore/kv.ts";
import type { JobEvent, JobEventType } from "./log/event.ts";

/** Of the quota, on top of it. */
const RESERVE_PART = 40;

const WORK: ReadonlySet<JobEventType> = new Set<JobEventType>([
  "step.completed", "step.failed", "value.recorded", "tool.granted", "timer.set", "child.started", "approval.requested",
]);

/** Whether jobs may do more, which takes about so many bytes. */
export function hasRoomForWork({ liveBytes, quotaBytes }: StoreUsage, bytes = 0): boolean {
  return liveBytes + bytes <= quotaBytes + Math.floor(quotaBytes / RESERVE_PART);
}

const OUTCOMES: ReadonlySet<JobEventType> = new Set<JobEventType>([
  "tool.succeeded", "tool.failed", "tool.unknown", "tool.resolved",
]);

/** Whether events say nothing but what became of calls. */
export function isOnlyOutcome(events: readonly JobEvent[]): boolean {
  return events.length > 0 && events.every(({ type }) => OUTCOMES.has(type));
}

/** Whether events say nothing but what a job does next, or has done by itself. */
export function isOnlyWork(events: readonly JobEvent[]): boolean {
  return events.length > 0 && events.every(({ type }) => WORK.has(type));
}
