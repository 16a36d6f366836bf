import { expect, test } from "vitest";
import { nextAction, ACTIONS, type WorkerState } from "../../../../src/cluster/deployment/core/instance-step.ts";
import { NEXT, nextState, type InstanceState } from "../../../../src/slices/core/lifecycle.ts";

const STATES = Object.keys(NEXT) as InstanceState[];
const WORKERS = Object.keys(ACTIONS.GONE) as WorkerState[];
const CELLS = STATES.flatMap((state) =>
  WORKERS.map((worker) => ({ state, worker, action: nextAction(state, worker) })),
);

test("a node fails an instance only where the life of an instance allows it", () => {
  for (const { state, action } of CELLS) if (action === "fail") expect(nextState(state, "lost")).toBe("FAILED");
});

test("a node reports only work that it owes", () => {
  for (const { state, action } of CELLS) if (action === "report") expect(nextState(state, "done")).not.toBe("refuse");
});

test("a node begins only what is commanded, or goes on with what it had begun", () => {
  const work = { load: "LOADING", activate: "ACTIVATING", deactivate: "DEACTIVATING", unload: "UNLOADING" } as const;
  for (const { state, action } of CELLS) {
    if (action !== "load" && action !== "activate" && action !== "deactivate" && action !== "unload") continue;
    expect([state, nextState(state, "begin")]).toContain(work[action]);
  }
});

test("a worker without a row, or with a row that must not have one, is ended", () => {
  for (const state of ["GONE", "FAILED", "LOAD"] as const) {
    for (const worker of ["loaded", "active", "unsettled"] as const) expect(nextAction(state, worker)).toBe("discard");
  }
});

test("a row that says what runs is left alone", () => {
  const resting = CELLS.filter(({ action }) => action === "rest").map(({ state, worker }) => `${state}/${worker}`);
  expect(resting.sort()).toEqual(
    ["GONE/absent", "GONE/lost", "FAILED/absent", "FAILED/lost", "LOADED/loaded", "ACTIVE/active"].sort(),
  );
});
