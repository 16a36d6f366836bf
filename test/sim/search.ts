// Owns: from a seed to a plan and its verdict; of a plan that breaks a rule the smallest one found that breaks it too.
import fc from "fast-check";
import { assert } from "../../src/base/assert.ts";
import { planArbitrary, type PlanOverrides } from "./plan/plan-arbitrary.ts";
import type { RunPlan } from "./plan/run-plan.ts";
import { runPlan, type RunOptions, type RunResult } from "./run-plan.ts";

/** Runs that shrinking one failure may take; each is as long as the failing one or shorter. */
export const SHRINK_RUNS_MAX = 400;

/**
 * A smaller plan has other delays in other places and often misses the failure by chance: it gets some seeds to show
 * it with.
 */
const TRIES_PER_PLAN = 3;
const TRY_STRIDE = 1_000_003;

/** Neighbouring seeds must not give neighbouring first choices. */
const SEED_STRIDE = 0x9e3779b1;

/** Draws the plan of a seed and runs it. */
export async function runSeed(
  seed: number,
  overrides: PlanOverrides = {},
  options: RunOptions = {},
): Promise<RunResult> {
  return runPlan(planOf(seed, overrides), options);
}

export function planOf(seed: number, overrides: PlanOverrides = {}): RunPlan {
  const [plan] = fc.sample(fc.noBias(planArbitrary(seed, overrides)), settingsOf(seed));
  assert(plan !== undefined, "one plan is drawn");
  return plan;
}

export interface Shrunk {
  /** The smallest plan that was found to break a rule, which need not be the same rule. */
  readonly result: RunResult;
  readonly runs: number;
}

/** Runs the plan of a seed that is known to break a rule again and again with less in it. */
export async function shrinkSeed(seed: number, overrides: PlanOverrides, runsMax = SHRINK_RUNS_MAX): Promise<Shrunk> {
  let smallest: RunResult | undefined;
  let runs = 0;
  const property = fc.asyncProperty(fc.noBias(planArbitrary(seed, overrides)), async (plan) => {
    for (let time = 0; time < TRIES_PER_PLAN && runs < runsMax; time += 1) {
      runs += 1;
      const result = await runPlan({ ...plan, seed: plan.seed + time * TRY_STRIDE });
      if (result.violation === undefined) continue;
      smallest = result;
      return false;
    }
    return true;
  });
  await fc.check(property, settingsOf(seed));
  assert(smallest !== undefined, "a plan that broke a rule breaks it again");
  return { result: smallest, runs };
}

function settingsOf(seed: number): { readonly seed: number; readonly numRuns: number } {
  return { seed: Math.imul(seed, SEED_STRIDE), numRuns: 1 };
}
