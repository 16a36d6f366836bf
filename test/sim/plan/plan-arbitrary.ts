// Owns: drawing plans of runs, so that fast-check can shrink each of them: fewer clients, steps and faults, shorter
// times, smaller numbers. Nothing here is drawn twice: what a plan does not say comes from its seed.
import fc from "fast-check";
import { CALM_LINKS, type LinkProfile } from "../../../src/testkit/sim/sim-network.ts";
import type { HarnessFault } from "../planted.ts";
import { WORKLOADS, type Act, type ClientScript, type Step, type WorkloadName } from "../workloads/actions.ts";
import type { WatcherScript } from "../workloads/watchers.ts";
import { crashArbitrary, faultArbitrary, linksArbitrary } from "./fault-arbitrary.ts";
import type { RunPlan } from "./run-plan.ts";
import { PLAN_FORMAT } from "./run-plan.ts";
import type { PlannedFault } from "../nemesis/faults.ts";

/** What every run of a search has in common, instead of what is drawn. */
export interface PlanOverrides {
  readonly nodeCount?: number;
  readonly workload?: WorkloadName;
  readonly planted?: HarnessFault;
}

const CLIENTS_MIN = 5;
const CLIENTS_MAX = 10;
const WATCHERS_MAX = 3;
const STEPS_MAX = 80;
/** The cluster forms in peace in many runs, but not in all. */
const FAULT_AT_MS_MAX = 5_500;
const OTHER_FAULTS_MAX = 9;
/** Sessions that end when their node is cut off for a while, and such that outlive everything. */
const SESSION_MS: readonly (readonly [weight: number, ttlMs: number])[] = [[1, 2_000], [1, 3_000], [2, 10_000]];
/** Between two bursts of a client. */
const REST_MS_MAX = 1_000;

export function planArbitrary(seed: number, overrides: PlanOverrides = {}): fc.Arbitrary<RunPlan> {
  const { nodeCount, workload, planted } = overrides;
  const nodes = nodeCount === undefined ? weighted([[7, 3], [2, 5], [1, 2], [1, 1], [1, 4]]) : fc.constant(nodeCount);
  return fc
    .record({
      format: fc.constant(PLAN_FORMAT),
      seed: fc.constant(seed),
      windowSlots: fc.constantFrom(64, 4, 8, 16),
      pipelineSlots: fc.constantFrom(1, 2, 8),
      isLogShort: fc.boolean(),
      // Shrunk in this order: what is left of faults says most.
      faults: faultsArbitrary(),
      nodeCount: nodes,
      standbyCount: weighted([[4, 0], [3, 1], [1, 2]]),
      clients: workload === undefined ? fc.oneof(...WORKLOADS.map(clientsOf)) : clientsOf(workload),
      watchers: fc.array(watcherArbitrary(), { minLength: 0, maxLength: WATCHERS_MAX, size: "max" }),
      links: baseLinks(),
      hasLeader: fc.boolean(),
    })
    .map((plan) => {
      const pipelineSlots = Math.min(plan.pipelineSlots, plan.windowSlots);
      return { ...plan, pipelineSlots, ...(planted === undefined ? {} : { planted }) };
    });
}

/** Every run crashes something, unless it is shrunk away: without restarts half of the rules are idle. */
function faultsArbitrary(): fc.Arbitrary<readonly PlannedFault[]> {
  const at = fc.nat(FAULT_AT_MS_MAX);
  const sure = fc.record({ atMs: at, fault: crashArbitrary() });
  const other = fc.option(fc.record({ atMs: at, fault: faultArbitrary() }), { nil: undefined, freq: 4 });
  const others = Array.from({ length: OTHER_FAULTS_MAX }, () => other);
  return fc
    .tuple(almostAlways(sure), ...others)
    .map((drawn) => drawn.filter((fault) => fault !== undefined).sort((a, b) => a.atMs - b.atMs));
}

const MIXES: Readonly<Record<WorkloadName, readonly (readonly [weight: number, act: Act])[]>> = {
  registers: [[3, "read"], [3, "put"], [1, "delete"], [3, "swap"]],
  // The checkers of registers judge every run: a share of each workload is theirs.
  lists: [[3, "append"], [1, "read-list"], [1, "read"], [1, "put"], [1, "swap"]],
  accounts: [[4, "transfer"], [1, "read-all"], [1, "read"], [1, "put"], [1, "swap"]],
  leases: [
    [4, "attach"], [1, "keep"], [2, "read-attached"], [1, "leave"], [1, "revoke"], [1, "read"], [1, "put"], [1, "swap"],
  ],
  leaders: [[2, "take"], [6, "lead"], [1, "read"], [1, "put"], [1, "swap"]],
  mixed: [
    [2, "append"], [2, "transfer"], [1, "read-list"], [1, "read-all"], [2, "read"], [2, "put"], [2, "swap"],
    [1, "attach"], [1, "take"], [1, "lead"],
  ],
};

function clientsOf(workload: WorkloadName): fc.Arbitrary<readonly ClientScript[]> {
  const steps = fc.array(stepOf(weighted(MIXES[workload])), { minLength: 0, maxLength: STEPS_MAX, size: "max" });
  const sessionMs = weighted<number | undefined>([[4, undefined], ...SESSION_MS]);
  const script = fc.record({ steps, sessionMs }).map(({ steps: all, sessionMs: ttlMs }): ClientScript => {
    return ttlMs === undefined ? { steps: all } : { steps: all, sessionMs: ttlMs };
  });
  const sure = Array.from({ length: CLIENTS_MIN }, () => almostAlways(script));
  const more = Array.from({ length: CLIENTS_MAX - CLIENTS_MIN }, () => fc.option(script, { nil: undefined, freq: 2 }));
  return fc
    .tuple(...sure, ...more)
    .map((scripts) => scripts.filter((one) => one !== undefined).filter(({ steps: all }) => all.length > 0));
}

function stepOf(act: fc.Arbitrary<Act>): fc.Arbitrary<Step> {
  const waitMs = fc.oneof({ weight: 9, arbitrary: fc.nat(8) }, { weight: 2, arbitrary: fc.nat(REST_MS_MAX) });
  return fc
    .tuple(waitMs, act, fc.nat(59), fc.nat(9))
    .map(([wait, what, key, move]) => ({ waitMs: wait, act: what, key, ...(move === 1 ? { moves: true } : {}) }));
}

function watcherArbitrary(): fc.Arbitrary<WatcherScript> {
  return fc.record({
    prefix: fc.constantFrom("data/", "data/register/", "data/attached/", "data/account/", "data/list/0"),
    stayMs: fc.integer({ min: 200, max: 4_000 }),
    isSlow: weighted([[2, false], [1, true]]),
  });
}

function baseLinks(): fc.Arbitrary<LinkProfile> {
  return fc.oneof(fc.constant(CALM_LINKS), linksArbitrary(0.3), linksArbitrary(1));
}

/** Drawn nearly always, and shrunk to nothing. */
function almostAlways<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.option(arbitrary, { nil: undefined, freq: 200 });
}

/** Shrinks towards the first. */
function weighted<T>(choices: readonly (readonly [weight: number, value: T])[]): fc.Arbitrary<T> {
  const expanded = choices.flatMap(([weight, value]) => Array.from({ length: weight }, () => value));
  return fc.constantFrom(...expanded);
}
