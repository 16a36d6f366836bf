import { describe, expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { findPlanted } from "./find-planted.ts";
import { ALL_PLANTED } from "./planted.ts";
import { parsePlan, type RunPlan } from "./plan/run-plan.ts";
import { runPlan } from "./run-plan.ts";
import { planOf, shrinkSeed } from "./search.ts";

const SHRINK_RUNS = 60;

describe("a planted fault is found within the budget of the faultless runs:", () => {
  test.each(ALL_PLANTED)("%s", async (planted) => {
    const find = await findPlanted(planted);
    console.log(`${planted}: found by ${find?.check ?? "nothing"} at seed ${find?.seed ?? "-"}`);
    expect(find).toBeDefined();
  });
});

test("what breaks a rule shrinks to a smaller plan that breaks one, and its text replays", async () => {
  const overrides = { planted: "coin-decides" } as const;
  const { seed } = present(await findPlanted(overrides.planted), "the fault is found");
  const drawn = planOf(seed, overrides);
  const { result } = await shrinkSeed(seed, overrides, SHRINK_RUNS);
  expect(stepsOf(result.plan)).toBeLessThan(stepsOf(drawn));
  const replayed = await runPlan(present(parsePlan(JSON.stringify(result.plan)), "a plan reads back"));
  expect(replayed.traceHash).toBe(result.traceHash);
  expect(replayed.violation).toEqual(result.violation);
});

function stepsOf({ clients, faults }: RunPlan): number {
  return faults.length + clients.reduce((sum, { steps }) => sum + steps.length, 0);
}
