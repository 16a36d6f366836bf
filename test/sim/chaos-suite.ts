// Owns: what a set of random runs must show: no violation, and that they were hard enough to mean something.
import { expect, test } from "vitest";
import { replayCommand } from "./replay-command.ts";
import type { RunResult } from "./run-plan.ts";
import { runSeed, shrinkSeed } from "./search.ts";
import { formatTotals, sumUp } from "./totals.ts";

/** Every so many seeds one is run twice. */
const REPEAT_EVERY = 50;
const SHRINK_RUNS = 100;
const COMMANDS_MEAN_MIN = 200;

/** Registers the test over the seeds `first`, `first + 1`, … in order. */
export function testChaos(name: string, { first, count }: { readonly first: number; readonly count: number }): void {
  test(`${name}: C1 to C12 hold after every step, and every run ends with everything decided`, async () => {
    const results: RunResult[] = [];
    for (let seed = first; seed < first + count; seed += 1) {
      const result = await runSeed(seed);
      if (result.violation !== undefined) expect.fail(await describeFailure(seed, result));
      if (seed % REPEAT_EVERY === 0) await expectSameAgain(seed, result);
      results.push(result);
    }
    const totals = sumUp(results);
    console.log(formatTotals(totals));
    const { sum } = totals;
    expect(sum.commands / count).toBeGreaterThanOrEqual(COMMANDS_MEAN_MIN);
    const covered = {
      "crashes of all nodes": sum.allNodeCrashes,
      "nodes stopped for their disks": sum.refusals,
      "changes of the members": sum.changesDone,
      "slots decided in a phase above 0": sum.laterPhaseSlots,
      "null slots": sum.nullSlots,
      "slots in doubt after a restart": sum.inDoubtSlots,
      "batches decided twice": sum.batchesSkipped,
      "overlapping operations": sum.overlapping,
      "operations of unknown outcome that took effect": sum.unknownApplied,
      "operations of unknown outcome kept open": sum.unknownOpen,
      "requests that were answered when they were sent again": sum.recalls,
      "sessions that ended before their clients": sum.sessionsLost,
      "leases that ended by themselves": sum.leasesExpired,
      "watches that went on elsewhere": sum.watchesResumed,
      "watches that were told of a gap": sum.watchesCompacted,
      "leaders that wrote": sum.ledWrites,
      "nodes that wrote as the leader": sum.nodeWrites,
    };
    for (const [what, times] of Object.entries(covered)) expect(times, what).toBeGreaterThan(0);
    expect(sum.inconclusive, "register histories without a verdict").toBeLessThanOrEqual(count / 100);
  });
}

async function expectSameAgain(seed: number, before: RunResult): Promise<void> {
  const again = await runSeed(seed);
  expect(again.traceHash, `seed ${seed} gives another trace the second time`).toBe(before.traceHash);
  expect(again.stats).toEqual(before.stats);
}

async function describeFailure(seed: number, { violation }: RunResult): Promise<string> {
  const { result, runs } = await shrinkSeed(seed, {}, SHRINK_RUNS);
  return [
    `seed ${seed}: ${violation?.message ?? ""}`,
    `replay: ${replayCommand(seed)}`,
    `smallest of ${runs} runs: ${result.violation?.message ?? ""}`,
    `replay: npm run sim -- --trace --replay '${JSON.stringify(result.plan)}'`,
  ].join("\n");
}
