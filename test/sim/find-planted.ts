// Owns: looking for a planted fault, seed by seed, as the faultless runs go through them.
import type { HarnessFault } from "./planted.ts";
import type { RunResult } from "./run-plan.ts";
import { runSeed } from "./search.ts";

/** As many seeds as the faultless runs are given. */
export const BUDGET_SEEDS = 2_000;

export interface Find {
  /** Also how many seeds it took: the search begins with 1. */
  readonly seed: number;
  /** The check that found it. */
  readonly check: string;
  readonly message: string;
}

export async function findPlanted(planted: HarnessFault, seedsMax = BUDGET_SEEDS): Promise<Find | undefined> {
  for (let seed = 1; seed <= seedsMax; seed += 1) {
    const { violation }: RunResult = await runSeed(seed, { planted });
    if (violation !== undefined) return { seed, ...violation };
  }
  return undefined;
}
