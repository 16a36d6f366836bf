// Owns: what an owner that takes a job has to know of its log, beside what its code is given.
import type { CallName } from "../ids.ts";
import { readEvent } from "../log/upcast.ts";
import { noteChild, type Child, type Children } from "./children.ts";
import { OpenApprovals } from "./open-approvals.ts";

export interface LogFacts {
  /** When the timers are due that the log has set, by their calls. */
  readonly timers: ReadonlyMap<CallName, number>;
  readonly children: Children;
  readonly isCancelled: boolean;
  /** What asked it to end first was its deadline. */
  readonly isOverdue: boolean;
  readonly approvals: OpenApprovals;
}

/** @throws AetherError E_DATA_CORRUPT, E_VERSION */
export function logFactsOf(log: readonly Uint8Array[]): LogFacts {
  const timers = new Map<CallName, number>();
  const children = new Map<CallName, Child>();
  const approvals = new OpenApprovals();
  let isCancelled = false;
  let isOverdue = false;
  for (const bytes of log) {
    const { event } = readEvent(bytes);
    if (event.type === "timer.set") timers.set(event.call, event.dueMs);
    if (event.type === "job.cancel-requested") {
      isOverdue ||= !isCancelled && event.reason === "deadline";
      isCancelled = true;
    }
    noteChild(children, event);
    approvals.note([event]);
  }
  return { timers, children, isCancelled, isOverdue, approvals };
}
