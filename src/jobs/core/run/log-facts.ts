// Owns: what an owner that takes a job has to know of its log, beside what its code is given.
import type { CallName } from "../ids.ts";
import { noteChild, type Child, type Children } from "../life/children.ts";
import { cancelAfter, NOT_CANCELLED, type CancelFacts } from "../life/deadline.ts";
import { readEvent } from "../log/upcast.ts";
import { OpenApprovals } from "./open-approvals.ts";

export interface LogFacts extends CancelFacts {
  /** When the timers are due that the log has set, by their calls. */
  readonly timers: ReadonlyMap<CallName, number>;
  readonly children: Children;
  readonly approvals: OpenApprovals;
}

/** @throws AetherError E_DATA_CORRUPT, E_VERSION */
export function logFactsOf(log: readonly Uint8Array[]): LogFacts {
  const timers = new Map<CallName, number>();
  const children = new Map<CallName, Child>();
  const approvals = new OpenApprovals();
  let cancel = NOT_CANCELLED;
  for (const bytes of log) {
    const { event } = readEvent(bytes);
    if (event.type === "timer.set") timers.set(event.call, event.dueMs);
    cancel = cancelAfter(cancel, event);
    noteChild(children, event);
    approvals.note([event]);
  }
  return { timers, children, approvals, ...cancel };
}
