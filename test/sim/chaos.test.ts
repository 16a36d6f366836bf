import { expect, test } from "vitest";
import { testChaos } from "./chaos-suite.ts";
import { runSeed } from "./run-seed.ts";

testChaos("seeds 1 to 250", { first: 1, count: 250 });

test("a seed that is run again gives the same trace, event by event", async () => {
  for (const seed of [3, 17, 42]) {
    const [first, second] = [await runSeed(seed), await runSeed(seed)];
    expect(second.traceHash).toBe(first.traceHash);
    expect(second.stats).toEqual(first.stats);
  }
});
