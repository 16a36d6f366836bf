// Owns: how much is measured, in earnest and in a hurry.
import type { KeysPlan, MemoryPlan } from "./sections/growth.ts";
import type { KillsPlan } from "./sections/kills.ts";
import type { ThroughputPlan } from "./sections/throughput.ts";

export const SECTIONS = ["throughput", "kills", "memory", "keys", "voters"] as const;
export type SectionName = (typeof SECTIONS)[number];

export interface Plan {
  readonly throughput: ThroughputPlan;
  readonly anyKills: KillsPlan;
  readonly leaderKills: KillsPlan;
  readonly memory: MemoryPlan;
  readonly keys: KeysPlan;
  readonly voters: {
    readonly sizes: readonly number[];
    readonly clients: readonly number[];
    readonly measureMs: number;
  };
}

const FULL: Plan = {
  throughput: { settleMs: 30_000, rounds: 5, clients: [1, 64, 256], warmUpMs: 500, measureMs: 3_000 },
  anyKills: { victim: "any", kills: 20 },
  leaderKills: { victim: "leader", kills: 10 },
  memory: {
    keys: 100_000,
    marks: [100_000, 250_000, 500_000, 750_000, 1_000_000, 1_250_000, 1_500_000],
  },
  keys: { keyCounts: [10_000, 100_000, 1_000_000], rounds: 3, measureMs: 3_000 },
  voters: { sizes: [3, 5, 7], clients: [1, 64], measureMs: 5_000 },
};

const QUICK: Plan = {
  throughput: { settleMs: 1_000, rounds: 1, clients: [1, 64, 256], warmUpMs: 300, measureMs: 1_000 },
  anyKills: { victim: "any", kills: 3 },
  leaderKills: { victim: "leader", kills: 1 },
  memory: { keys: 10_000, marks: [10_000, 20_000, 30_000] },
  keys: { keyCounts: [1_000, 10_000], rounds: 1, measureMs: 1_000 },
  voters: { sizes: [3, 5], clients: [1, 64], measureMs: 1_000 },
};

export function planOf(options: { readonly isQuick: boolean; readonly rounds: number | undefined }): Plan {
  const plan = options.isQuick ? QUICK : FULL;
  const { rounds } = options;
  if (rounds === undefined) return plan;
  if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError("--rounds: give a whole number from 1 on");
  return { ...plan, throughput: { ...plan.throughput, rounds }, keys: { ...plan.keys, rounds } };
}
