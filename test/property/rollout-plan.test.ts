// Rollouts planned from random sizes, settings and speeds of nodes, with targets that work and targets that do not.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { parseArtifactId, type Digest } from "../../src/base/ids.ts";
import type { PlanInput } from "../../src/cluster/deployment/core/plan-types.ts";
import { plan } from "../../src/cluster/deployment/core/reconcile.ts";
import type { ResolvedBlueprint } from "../../src/slices/core/blueprint.ts";
import { rolloutSchema } from "../../src/sdk/rollout.ts";
import { isUnderWay, type RolloutRow } from "../../src/slices/core/rollout-row.ts";
import { specDigestOf } from "../../src/slices/core/spec-digest.ts";
import { blueprintOf, inputOf, instanceOf, nodeOf, sliceOf } from "../support/cluster-rows.ts";
import { execute, work, type Fate } from "../support/plan-steps.ts";

const ROUNDS_MAX = 400;
const NEXT_ARTIFACT = parseArtifactId("demo:orders:1.1.0");

const cases = fc.record({
  instances: fc.integer({ min: 1, max: 6 }),
  surge: fc.nat(3),
  unavailable: fc.nat(3),
  nodeCount: fc.integer({ min: 1, max: 4 }),
  isConfigOnly: fc.boolean(),
  /** Which of the instances at work get on in a round: read bit by bit, again and again. */
  speeds: fc.array(fc.nat(255), { minLength: 1, maxLength: 20 }),
  strategy: fc.constantFrom("rolling" as const, "blue-green" as const, "canary" as const),
}).filter(({ surge, unavailable }) => surge + unavailable > 0)
  // The other two have all of the new version beside the old one.
  .map((one) => (one.strategy === "rolling" ? one : { ...one, surge: one.instances, unavailable: 0 }));
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

interface Run {
  readonly revisions: readonly ResolvedBlueprint[];
  readonly start: PlanInput;
  readonly floor: number;
  readonly most: number;
}

/** All of revision 1 serves, and revision 2 is wanted; a third revision wants the first again. */
function runOf({ instances, surge, unavailable, nodeCount, isConfigOnly, strategy }: Case): Run {
  const minAvailable = Math.max(0, instances - Math.max(1, unavailable));
  const settings: Readonly<Record<Case["strategy"], object>> = {
    rolling: { surge, unavailable }, "blue-green": { bakeMs: 300_000 }, canary: { steps: [5, 50, 100] },
  };
  const rollout = rolloutSchema.parse({ strategy, ...settings[strategy] });
  const slice = sliceOf("orders", instances, { minAvailable, rollout });
  const next = isConfigOnly ? { ...slice, config: { currency: "EUR" } } : { ...slice, artifact: NEXT_ARTIFACT };
  const revisions = [slice, next, slice].map((orders, at) => blueprintOf({ orders }, at + 1));
  const nodes = Array.from({ length: nodeCount }, (_, at) => nodeOf(`n${at}`));
  const first = present(revisions[0], "there is a first revision");
  const serving = Array.from({ length: instances }, (_, index) =>
    instanceOf(first, "orders", { node: `n${index % nodeCount}`, index }));
  const revisionOf = (_name: string, revision: number) => revisions[revision - 1];
  const start = wanting(inputOf({ nodes, instances: serving, revisionOf }), revisions, 2);
  return { revisions, start, floor: Math.max(minAvailable, instances - unavailable), most: instances + surge };
}

function wanting(input: PlanInput, revisions: Run["revisions"], revision: number): PlanInput {
  return { ...input, blueprints: [present(revisions[revision - 1], "the revision is there")] };
}

function rolloutOf({ rollouts }: PlanInput): RolloutRow | undefined {
  return rollouts[0]?.row;
}

function activeOf({ instances }: PlanInput, digest?: Digest): number {
  return instances.filter(({ row }) =>
    row.state === "ACTIVE" && (digest === undefined || row.specDigest === digest)).length;
}

function digestIn({ revisions }: Run, revision: number): Digest {
  return specDigestOf(present(revisions[revision - 1]?.slices["orders"], "the revision has the slice"));
}

/** Plans and works, each instance at its own speed, until the rollout has ended and everything rests. */
function play(
  run: Run, one: Case, options: { readonly failing?: Fate; readonly turnAt?: number } = {},
): PlanInput {
  const { speeds } = one;
  let input = run.start;
  let isAtRest = false;
  for (let round = 0; round < ROUNDS_MAX && !isAtRest; round++) {
    if (round === options.turnAt) input = wanting(input, run.revisions, 3);
    const planned = plan(input);
    const speed = present(speeds[round % speeds.length], "there is a speed");
    const commanded = execute(input, planned);
    const isSlow = (index: number): boolean => ((speed >> index % 8) & 1) === 1 && round % 5 !== 0;
    const after = work(commanded, (instance) =>
      isSlow(instance.index) ? "waits" : (options.failing?.(instance) ?? "goes-on"));
    expectWithin(run, after);
    expectServed(one, after);
    isAtRest = planned.commands.length === 0 && planned.rollouts.length === 0 && round > (options.turnAt ?? 0) &&
      input.instances.every(({ row }) => row.state === "ACTIVE") && planned.againInMs === undefined;
    input = after;
  }
  expect(isAtRest).toBe(true);
  return input;
}

/** Of a version with a share of the calls as many serve as that takes, and of the one before all while it has one. */
function expectServed({ instances }: Case, input: PlanInput): void {
  const row = rolloutOf(input);
  if (row?.targetShare === undefined || !isUnderWay(row)) return;
  const needed = Math.ceil((instances * row.targetShare) / 10_000);
  expect(activeOf(input, row.target.specDigest)).toBeGreaterThanOrEqual(needed);
  if (row.targetShare < 10_000) expect(activeOf(input, row.previous.specDigest)).toBe(instances);
}

function expectWithin({ floor, most, start }: Run, input: PlanInput): void {
  expect(input.instances.length).toBeLessThanOrEqual(most);
  expect(activeOf(input)).toBeGreaterThanOrEqual(floor);
  const before = present(start.instances[0], "something served").row.specDigest;
  const isNew = input.instances.some(({ row }) => row.specDigest !== before);
  // The row that says what to go back to is there before anything else is made.
  if (isNew) expect(rolloutOf(input)).toBeDefined();
}

test("a rollout keeps to its surge and to what may be missing, and ends with the target alone", () => {
  fc.assert(fc.property(cases, (one) => {
    const run = runOf(one);
    const end = play(run, one);
    expect(activeOf(end, digestIn(run, 2))).toBe(one.instances);
    expect(end.instances).toHaveLength(one.instances);
    expect(rolloutOf(end)).toMatchObject({ stage: "done", target: { revision: 2 }, previous: { revision: 1 } });
  }), { numRuns: 100 });
});

test("a target that never serves is rolled back within the same bounds, with the reason in the row", () => {
  fc.assert(fc.property(cases, (one) => {
    const run = runOf(one);
    const failing: Fate = ({ row }) => (row.specDigest === digestIn(run, 2) ? "fails" : "goes-on");
    const end = play(run, one, { failing });
    expect(activeOf(end, digestIn(run, 1))).toBe(one.instances);
    expect(end.instances).toHaveLength(one.instances);
    expect(rolloutOf(end)).toMatchObject({ stage: "rolled-back" });
    expect(rolloutOf(end)?.reason).toMatch(/failed in attempt 3 with E_HANDLER: start threw/);
  }), { numRuns: 100 });
});

test("a rollout that is called off half way ends where it began, within the same bounds", () => {
  fc.assert(fc.property(cases, fc.nat(20), (one, turnAt) => {
    const run = runOf(one);
    const end = play(run, one, { turnAt: turnAt + 1 });
    expect(activeOf(end, digestIn(run, 3))).toBe(one.instances);
    expect(end.instances).toHaveLength(one.instances);
    expect(["done", undefined]).toContain(rolloutOf(end)?.stage);
  }), { numRuns: 100 });
});

test("a canary whose calls nobody counts waits, with all calls where they were, until somebody does", () => {
  const [one] = fc.sample(cases, 1);
  const run = runOf({ ...present(one, "a case"), instances: 2, nodeCount: 2, strategy: "canary" });
  const uncounted = (input: PlanInput): PlanInput =>
    ({ ...input, rollouts: input.rollouts.map((rollout) => ({ ...rollout, tally: undefined, unchangedForMs: 1e9 })) });
  let input = run.start;
  for (let round = 0; round < 50; round++) input = work(execute(input, plan(uncounted(input))));
  expect(rolloutOf(input)).toMatchObject({ stage: "shifting", step: 0, targetShare: 0 });
  expect(activeOf(input, digestIn(run, 1))).toBe(2);
  input = execute(input, plan(input));
  expect(rolloutOf(input)).toMatchObject({ stage: "shifting", step: 0, targetShare: 500 });
});
