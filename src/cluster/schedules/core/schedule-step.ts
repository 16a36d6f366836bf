// Owns: what the leader does next about one schedule, from its row and the time of day.
// T1  Ticks only go forward: one that is not after the last is never begun, whatever a clock says.
// T2  Of the ticks that were missed only the latest is begun.
// T3  A tick that was begun is sent until its end is written, or its schedule has changed; always with the same
//     idempotency key.
// T4  No tick is made up for that may have come in a cluster of which only a backup is left.
import { unreachable } from "../../../base/assert.ts";
import type { TickPlan, TickRow } from "../../../slices/core/schedule-row.ts";

/** When the ticks of a schedule are; the answers depend on nothing else. */
export interface TickTimes {
  next(afterMs: number): number | undefined;
  latest(untilMs: number): number | undefined;
}

export type ScheduleStep =
  /** It is new, was changed, or comes from a backup: what it would have done before does not count. */
  | { readonly kind: "begin"; readonly sinceMs: number }
  | { readonly kind: "fire"; readonly tickMs: number }
  /** The row says it was fired, and not how that ended. */
  | { readonly kind: "resend"; readonly tickMs: number }
  | { readonly kind: "wait" };

export interface TickFacts {
  /** What a tick is for has changed. */
  readonly isOther: boolean;
  readonly times: TickTimes;
  readonly nowMs: number;
}

export function nextScheduleStep(
  wanted: TickPlan, row: TickRow | undefined, { isOther, times, nowMs }: TickFacts,
): ScheduleStep {
  if (row === undefined) return { kind: "begin", sinceMs: nowMs };
  const isChanged = isOther || row.isRestored === true || wanted.cron !== row.cron || wanted.timeZone !== row.timeZone;
  if (isChanged) return { kind: "begin", sinceMs: Math.max(nowMs, row.tickMs) };
  switch (row.state) {
    case "sent":
      return { kind: "resend", tickMs: row.tickMs };
    case "waiting":
    case "done":
    case "failed":
    case "skipped": {
      const next = times.next(row.tickMs);
      if (next === undefined || next > nowMs) return { kind: "wait" };
      return { kind: "fire", tickMs: Math.max(next, times.latest(nowMs) ?? next) };
    }
    default:
      return unreachable(row.state);
  }
}
