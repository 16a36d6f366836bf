// Owns: what a node does next for one instance, from its row and what really runs here, as a complete table.
// Does not own: doing it (instance-driver.ts). The table is asked only while nothing is under way for the instance.
import type { InstanceState } from "../../../slices/core/lifecycle.ts";

/** What runs here. `lost`: it ended unasked. `unsettled`: half way in something that nobody drives. */
export type WorkerState = "absent" | "lost" | "loaded" | "active" | "unsettled";

/**
 * In an …ING state the begin is written already: the answer to that write was lost, the work goes on.
 * `report`: the work is done, only the row does not say so yet.
 * `fail`: the row claims what is not so: it becomes FAILED and loses its endpoints.
 * `discard`: end the worker, the row stays. `unload`: end the worker, then the row.
 */
export type InstanceAction = "rest" | "load" | "activate" | "deactivate" | "unload" | "report" | "fail" | "discard";

const END_ANY_WORKER = { loaded: "discard", active: "discard", unsettled: "discard" } as const;
const NOTHING_RUNS = { absent: "rest", lost: "rest", ...END_ANY_WORKER } as const;
const ALWAYS_UNLOAD = {
  absent: "unload", lost: "unload", loaded: "unload", active: "unload", unsettled: "unload",
} as const;

export const ACTIONS = {
  GONE: NOTHING_RUNS,
  LOAD: { absent: "load", lost: "load", ...END_ANY_WORKER },
  LOADING: { absent: "load", lost: "fail", loaded: "report", active: "fail", unsettled: "fail" },
  LOADED: { absent: "fail", lost: "fail", loaded: "rest", active: "fail", unsettled: "fail" },
  ACTIVATE: { absent: "fail", lost: "fail", loaded: "activate", active: "fail", unsettled: "fail" },
  ACTIVATING: { absent: "fail", lost: "fail", loaded: "activate", active: "report", unsettled: "fail" },
  ACTIVE: { absent: "fail", lost: "fail", loaded: "fail", active: "rest", unsettled: "fail" },
  DEACTIVATE: { absent: "fail", lost: "fail", loaded: "fail", active: "deactivate", unsettled: "fail" },
  DEACTIVATING: { absent: "fail", lost: "fail", loaded: "report", active: "deactivate", unsettled: "fail" },
  UNLOAD: ALWAYS_UNLOAD,
  UNLOADING: ALWAYS_UNLOAD,
  FAILED: NOTHING_RUNS,
} as const satisfies Record<InstanceState, Record<WorkerState, InstanceAction>>;

export function nextAction(state: InstanceState, worker: WorkerState): InstanceAction {
  return ACTIONS[state][worker];
}
