// Owns: what many jobs cost that do nothing: those that wait, which no worker holds, and those that run a long step.
import { setTimeout as sleep } from "node:timers/promises";
import { runRequests } from "../closed-loop.ts";
import type { JobsCluster } from "./jobs-cluster.ts";

const STARTERS = 32;
/** After the last start, until what it led to is done. */
const SETTLE_MS = 3_000;

export interface ManyPlan {
  readonly waiting: number;
  readonly running: number;
  readonly lookMs: number;
  readonly looks: number;
}

/** Of a stretch in which nobody asks for anything. */
export interface Stretch {
  readonly what: string;
  /** Of one core, used by all nodes together. */
  readonly cpuPercent: number;
  /** Resident memory of each node, at each look. */
  readonly residentBytes: readonly (readonly number[])[];
}

export async function measureMany(cluster: JobsCluster, plan: ManyPlan): Promise<readonly Stretch[]> {
  const stretches = [await stretch(cluster, plan, "no jobs")];
  await start(cluster, plan.waiting, false);
  stretches.push(await stretch(cluster, plan, `${plan.waiting} jobs wait`));
  await start(cluster, plan.running, true);
  stretches.push(await stretch(cluster, plan, `${plan.running} run besides`));
  return stretches;
}

async function start(cluster: JobsCluster, count: number, runs: boolean): Promise<void> {
  const failed = await runRequests(STARTERS, count, (client) => cluster.startJob(client, "holder", { runs }));
  if (failed > 0) throw new RangeError(`${failed} of ${count} jobs were not started`);
  await sleep(SETTLE_MS);
}

async function stretch(cluster: JobsCluster, { lookMs, looks }: ManyPlan, what: string): Promise<Stretch> {
  const before = cluster.cpuSeconds();
  const residentBytes: (readonly number[])[] = [];
  for (let look = 0; look < looks; look++) {
    await sleep(lookMs);
    residentBytes.push(cluster.residentBytes());
  }
  return { what, cpuPercent: ((cluster.cpuSeconds() - before) * 100_000) / (lookMs * looks), residentBytes };
}
