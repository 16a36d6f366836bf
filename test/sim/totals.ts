// Owns: sums over many runs: what a set of seeds has covered, and what it must have covered to count as a test.
import { present } from "../../src/base/assert.ts";
import type { RunResult, RunStats } from "./run-plan.ts";

export interface Totals {
  readonly seeds: number;
  readonly sum: RunStats;
  /** Least of one run. */
  readonly least: { readonly commands: number; readonly faults: number };
}

export function sumUp(results: readonly RunResult[]): Totals {
  const [first, ...rest] = results.map(({ stats }) => stats);
  const sum = { ...present(first, "there are runs to sum up") };
  for (const stats of rest) {
    for (const name of namesOf(stats)) {
      sum[name] = name === "highestPhase" ? Math.max(sum[name], stats[name]) : sum[name] + stats[name];
    }
  }
  return {
    seeds: results.length,
    sum,
    least: {
      commands: Math.min(...results.map(({ stats }) => stats.commands)),
      faults: Math.min(...results.map(({ stats }) => stats.faults)),
    },
  };
}

export function formatTotals({ seeds, sum, least }: Totals): string {
  return [
    `${seeds} seeds, ${sum.events} events, ${Math.round(sum.virtualMs / 1_000)} s of virtual time`,
    `commands: ${sum.commands} (at least ${least.commands} per seed): ${sum.answered} answered, ` +
      `${sum.failed} refused, ${sum.unknown} of unknown outcome (${sum.unknownApplied} took effect, ` +
      `${sum.unknownOpen} kept open), ${sum.overlapping} overlapping`,
    `faults: ${sum.faults} (at least ${least.faults} per seed), ${sum.crashes} crashes, ` +
      `${sum.allNodeCrashes} times all nodes were down, ${sum.refusals} nodes stopped for their disks`,
    `members: ${sum.changesAsked} changes asked for, ${sum.changesDone} done`,
    `requests: ${sum.repeats} sent again, ${sum.recalls} of them answered; ${sum.sessionsLost} sessions lost; ` +
      `leases: ${sum.leasesGranted} granted, ${sum.leasesExpired} ended by themselves`,
    `watches: ${sum.watched} sets of changes, ${sum.watchesResumed} resumed, ${sum.watchesCompacted} compacted; ` +
      `leaders: ${sum.epochs} epochs, ${sum.ledWrites} writes; ` +
      `nodes: ${sum.nodeEpochs} epochs, ${sum.nodeWrites} writes`,
    `slots: ${sum.slotsDecided} decided, ${sum.laterPhaseSlots} in a phase above 0 (highest ${sum.highestPhase}), ` +
      `${sum.nullSlots} null, ${sum.noopSlots} NOOP, ${sum.inDoubtSlots} in doubt after a restart`,
    `batches: ${sum.batchesRun} ran, ${sum.batchesAcknowledged} acknowledged, ` +
      `${sum.batchesSkipped} skipped because they had run; ${sum.inconclusive} register histories inconclusive`,
  ].join("\n");
}

function namesOf(stats: RunStats): readonly (keyof RunStats)[] {
  return Object.keys(stats) as (keyof RunStats)[];
}
