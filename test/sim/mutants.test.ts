import { describe, expect, test } from "vitest";
import { PLANTED_FAULTS } from "../../src/consensus/observer.ts";
import { runSeed, type SeedOptions } from "./run-seed.ts";

/** As many seeds as the faultless runs are given. */
const SEEDS = 500;

interface Find {
  readonly seed: number;
  readonly check: string;
}

async function findFirst(options: SeedOptions): Promise<Find | undefined> {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { violation } = await runSeed(seed, options);
    if (violation !== undefined) return { seed, check: violation.check };
  }
  return undefined;
}

describe("a planted fault is found within the budget of the faultless runs:", () => {
  test.each(PLANTED_FAULTS)("%s", async (planted) => {
    const find = await findFirst({ planted });
    console.log(`${planted}: found by ${find?.check ?? "nothing"} at seed ${find?.seed ?? "-"}`);
    expect(find).toBeDefined();
  });

  test("reads that skip their quorum round", async () => {
    const find = await findFirst({ readMode: "local" });
    console.log(`reads without a quorum round: found by ${find?.check ?? "nothing"} at seed ${find?.seed ?? "-"}`);
    expect(find?.check).toBe("C11");
  });
});

test("without a planted fault the same seeds show no violation", async () => {
  for (let seed = 1; seed <= 10; seed += 1) expect((await runSeed(seed)).violation).toBeUndefined();
});
