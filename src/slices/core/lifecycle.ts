// Owns: the life of one instance as data: every state, every event, and what each of them leads to. The leader and
// the instance's node both write the row; both ask this table, and write by compare on the state before.
// Does not own: time limits, workers, rows.

/**
 * `GONE` is the absence of the row; every other state is stored in it. LOAD, ACTIVATE, DEACTIVATE and UNLOAD are
 * commands of the leader; in an …ING state the node is at work.
 */
export type InstanceState =
  | "GONE"
  | "LOAD"
  | "LOADING"
  | "LOADED"
  | "ACTIVATE"
  | "ACTIVATING"
  | "ACTIVE"
  | "DEACTIVATE"
  | "DEACTIVATING"
  | "UNLOAD"
  | "UNLOADING"
  | "FAILED";

/** A state that a row can hold. */
export type StoredInstanceState = Exclude<InstanceState, "GONE">;

/**
 * Leader: `load`, `activate`, `deactivate` and `unload` are its commands; `abandon` deletes the row of a gone node.
 * Node: `begin` and `done` frame the work of a command; `fail` is its error or time limit; `lost` says that the worker
 * is gone although nobody ended it (it died, it was recycled, or the node restarted).
 */
export type InstanceEvent =
  | "load"
  | "activate"
  | "deactivate"
  | "unload"
  | "abandon"
  | "begin"
  | "done"
  | "fail"
  | "lost";

/** Who alone may write the transition of an event. */
export const WRITER = {
  load: "leader",
  activate: "leader",
  deactivate: "leader",
  unload: "leader",
  abandon: "leader",
  begin: "node",
  done: "node",
  fail: "node",
  lost: "node",
} as const satisfies Record<InstanceEvent, "leader" | "node">;

const REFUSED = {
  load: "refuse",
  activate: "refuse",
  deactivate: "refuse",
  unload: "refuse",
  abandon: "GONE",
  begin: "refuse",
  done: "refuse",
  fail: "refuse",
  lost: "refuse",
} as const satisfies Record<InstanceEvent, InstanceState | "refuse">;

/**
 * The complete truth table. Each row names what differs from `REFUSED`, so that what is possible stands out.
 * `lost` in LOAD and UNLOAD is refused on purpose: nothing needs a worker there, and the node goes on with it.
 */
export const NEXT = {
  GONE: { ...REFUSED, load: "LOAD", abandon: "refuse" },
  LOAD: { ...REFUSED, begin: "LOADING", unload: "UNLOAD" },
  LOADING: { ...REFUSED, done: "LOADED", fail: "FAILED", lost: "FAILED", unload: "UNLOAD" },
  LOADED: { ...REFUSED, activate: "ACTIVATE", unload: "UNLOAD", lost: "FAILED" },
  ACTIVATE: { ...REFUSED, begin: "ACTIVATING", lost: "FAILED" },
  ACTIVATING: { ...REFUSED, done: "ACTIVE", fail: "FAILED", lost: "FAILED", unload: "UNLOAD" },
  ACTIVE: { ...REFUSED, deactivate: "DEACTIVATE", lost: "FAILED" },
  DEACTIVATE: { ...REFUSED, begin: "DEACTIVATING", lost: "FAILED" },
  DEACTIVATING: { ...REFUSED, done: "LOADED", fail: "FAILED", lost: "FAILED", unload: "UNLOAD" },
  UNLOAD: { ...REFUSED, begin: "UNLOADING" },
  UNLOADING: { ...REFUSED, done: "GONE", fail: "FAILED", lost: "FAILED", unload: "UNLOAD" },
  FAILED: { ...REFUSED, load: "LOAD", unload: "UNLOAD" },
} as const satisfies Record<InstanceState, Record<InstanceEvent, InstanceState | "refuse">>;

/** What `event` makes of an instance in `state`; `refuse`: the writer acts on an old view and must write nothing. */
export function nextState(state: InstanceState, event: InstanceEvent): InstanceState | "refuse" {
  return NEXT[state][event];
}

/** States in which the instance's endpoints stand in the registry. DEACTIVATE still serves: its node has not begun. */
export function hasEndpoints(state: InstanceState): boolean {
  return state === "ACTIVE" || state === "DEACTIVATE";
}

/** States in which the node owes the next write and a time limit runs. */
export function isTransitional(state: InstanceState): boolean {
  return state === "LOADING" || state === "ACTIVATING" || state === "DEACTIVATING" || state === "UNLOADING";
}
