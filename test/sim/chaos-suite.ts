// Owns: what a set of random runs must show: no violation, and that they were hard enough to mean something.
import { expect, test } from "vitest";
import { runSeed, type SeedResult } from "./run-seed.ts";
import { replayCommand } from "./replay-command.ts";
import { formatTotals, sumUp } from "./totals.ts";

/** Registers the tests over the seeds `first`, `first + 1`, … in order. */
export function testChaos(name: string, { first, count }: { readonly first: number; readonly count: number }): void {
  test(`${name}: C1 to C11 hold after every step, and every run ends with everything decided`, async () => {
    const results: SeedResult[] = [];
    for (let seed = first; seed < first + count; seed += 1) {
      const result = await runSeed(seed);
      const { violation } = result;
      expect(violation, `seed ${seed}: ${violation?.message ?? ""}\n${replayCommand(seed)}`).toBeUndefined();
      results.push(result);
    }
    const totals = sumUp(results);
    console.log(formatTotals(totals));
    const { sum, least } = totals;
    expect(least.commands).toBeGreaterThanOrEqual(200);
    expect(least.faults).toBeGreaterThanOrEqual(5);
    const covered = {
      "crashes of all nodes": sum.allNodeCrashes,
      "slots decided in a phase above 0": sum.laterPhaseSlots,
      "null slots": sum.nullSlots,
      "slots in doubt after a restart": sum.inDoubtSlots,
      "batches decided twice": sum.batchesSkipped,
      "overlapping operations": sum.overlapping,
      "operations of unknown outcome that took effect": sum.unknownApplied,
      "operations of unknown outcome kept open": sum.unknownOpen,
    };
    for (const [what, times] of Object.entries(covered)) expect(times, what).toBeGreaterThan(0);
    expect(sum.inconclusive, "register histories without a verdict").toBeLessThanOrEqual(count / 100);
  });
}
