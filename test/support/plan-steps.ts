// Owns: plans carried out without a cluster: the rows after the leader's commands, and after the work of nodes.
import { expect } from "vitest";
import { present } from "../../src/base/assert.ts";
import type {
  LoadCommand, Plan, PlanInput, PlanInstance, PlanRollout,
} from "../../src/cluster/deployment/core/plan-types.ts";
import type { PlanNode } from "../../src/cluster/deployment/core/placement.ts";
import { plan } from "../../src/cluster/deployment/core/reconcile.ts";
import { NO_CALLS } from "../../src/cluster/rollouts/core/version-tally.ts";
import { nextState } from "../../src/slices/core/lifecycle.ts";

const NO_TALLY = { target: NO_CALLS, previous: NO_CALLS };

export function placeOf({ node, artifact, index }: Pick<PlanInstance, "node" | "artifact" | "index">): string {
  return `${node}/${artifact}/${index}`;
}

export function idOf({ node }: PlanNode): PlanNode["node"] {
  return node;
}

/** The rows after the leader's commands. Fails on a command that the life of an instance does not allow. */
export function execute(input: PlanInput, { commands, rollouts }: Plan): PlanInput {
  const rows = new Map(input.instances.map((instance) => [placeOf(instance), instance]));
  for (const command of commands) {
    if (command.kind === "forget") rows.delete(placeOf(command.instance));
    else if (command.kind === "load") rows.set(placeOf(command), load(input, command));
    else rows.set(placeOf(command.instance), moved(command.instance, command.kind));
  }
  return { ...input, instances: [...rows.values()], rollouts: rolloutsAfter(input.rollouts, rollouts) };
}

function rolloutsAfter(before: PlanInput["rollouts"], written: Plan["rollouts"]): readonly PlanRollout[] {
  const nameOf = ({ blueprint, slice }: { blueprint: string; slice: string }): string => `${blueprint}/${slice}`;
  const rollouts = new Map(before.map((rollout) => [nameOf(rollout), rollout]));
  for (const { row, modRevision, ...place } of written) {
    expect(modRevision).toBe(rollouts.get(nameOf(place))?.modRevision ?? 0);
    if (row === undefined) rollouts.delete(nameOf(place));
    else rollouts.set(nameOf(place), {
      ...place, row: { ...row, sinceMs: 0 }, modRevision: modRevision + 1, unchangedForMs: 0, tally: NO_TALLY,
    });
  }
  return [...rollouts.values()];
}

function load(input: PlanInput, command: LoadCommand): PlanInstance {
  const before = input.instances.find((instance) => placeOf(instance) === placeOf(command));
  const heapBytesMax = present(input.blueprints[0]?.slices[command.slice], "what is loaded is wanted").heapBytesMax;
  expect(nextState(before?.row.state ?? "GONE", "load")).toBe("LOAD");
  expect(command.modRevision).toBe(before?.modRevision ?? 0);
  const rollout = input.rollouts.find(({ blueprint, slice }) =>
    blueprint === command.blueprint && slice === command.slice);
  expect(command.rolloutRevision).toBe(rollout?.modRevision ?? 0);
  const { node, artifact, index, slice, blueprint, revision, generation, attempt, specDigest } = command;
  const row = { state: "LOAD" as const, slice, blueprint, revision, generation, attempt, specDigest, sinceMs: 0 };
  return { node, artifact, index, row, heapBytesMax, modRevision: 1, unchangedForMs: 0 };
}

function moved(instance: PlanInstance, event: "activate" | "deactivate" | "unload" | "begin" | "done"): PlanInstance {
  const state = nextState(instance.row.state, event);
  if (state === "refuse" || state === "GONE") throw new RangeError(`${event} in ${instance.row.state}`);
  return { ...instance, unchangedForMs: 0, row: { ...instance.row, state } };
}

/** What becomes of an instance at work: it gets on, it does not yet, or its work fails. */
export type Fate = (instance: PlanInstance) => "goes-on" | "waits" | "fails";

/** Every node that is there takes one step with each of its instances; time passes, so that no back-off is left. */
export function work(input: PlanInput, fateOf: Fate = () => "goes-on"): PlanInput {
  const atWork = new Set(input.nodes.filter(({ status }) => status === "ready" || status === "leaving").map(idOf));
  const instances = input.instances.flatMap((instance) => {
    const fate = fateOf(instance);
    // Who only waits a little is not stuck.
    const aged = { ...instance, unchangedForMs: instance.unchangedForMs + (fate === "waits" ? 10_000 : 100_000) };
    if (!atWork.has(instance.node) || fate === "waits") return [aged];
    return stepOf(aged, fate === "fails");
  });
  const rollouts = input.rollouts.map((one) => ({ ...one, unchangedForMs: one.unchangedForMs + 100_000 }));
  return { ...input, instances, rollouts };
}

function stepOf(instance: PlanInstance, isFailing: boolean): readonly PlanInstance[] {
  const { row } = instance;
  if (row.state === "UNLOADING") return [];
  if (nextState(row.state, "begin") !== "refuse") return [moved(instance, "begin")];
  if (isFailing && row.state === "ACTIVATING") {
    const error = { code: "E_HANDLER", message: "start threw", fatal: false };
    return [{ ...instance, unchangedForMs: 0, row: { ...row, state: "FAILED", error } }];
  }
  return nextState(row.state, "done") === "refuse" ? [instance] : [moved(instance, "done")];
}

/** Plans and works until nothing is left to do, and gives every state on the way. */
export function converge(start: PlanInput): readonly PlanInput[] {
  const history = [start];
  for (let round = 0; round < 120; round++) {
    const input = present(history.at(-1), "the history has its start");
    const planned = plan(input);
    const next = work(execute(input, planned));
    history.push(next);
    const isAtRest = planned.commands.length === 0 && planned.rollouts.length === 0;
    if (isAtRest && JSON.stringify(statesOf(next)) === JSON.stringify(statesOf(input))) return history;
  }
  throw new RangeError("the plan does not come to rest");
}

function statesOf({ instances }: PlanInput): readonly string[] {
  return instances.map((instance) => `${placeOf(instance)} ${instance.row.state}`);
}
