// Owns: what the length of a job's log costs: the next step, what is stored of each, and running from it anew.
import { setTimeout as sleep } from "node:timers/promises";
import { performance } from "node:perf_hooks";
import { z } from "zod";
import type { JobsCluster } from "./jobs-cluster.ts";
import { expectSum } from "./rates.ts";

const POLL_MS = 50;
const WAIT_MS_MAX = 120_000;

const marksSchema = z.object({ stepMs: z.array(z.number()) });
const longSchema = z.object({ sum: z.int(), replayMs: z.number() });

export interface LengthResult {
  readonly events: number;
  /** Mean of so many steps there, each recorded before the next one begins. */
  readonly stepMs: number;
}

export async function measureLengths(
  cluster: JobsCluster, events: readonly number[], steps: number,
): Promise<readonly LengthResult[]> {
  const { stepMs } = marksSchema.parse(await cluster.run(0, "marks", { events, steps }));
  return events.map((mark, index) => ({ events: mark, stepMs: stepMs[index] ?? Number.NaN }));
}

export interface ReplayResult {
  readonly events: number;
  /** From the first line of its code to where its log ends, in its worker. */
  readonly replayMs: number;
  /** From the signal that it waited for to its result: claim, reading the log, replay, end. */
  readonly signalToResultMs: number;
  /** What the store of each node holds more, for each step. */
  readonly storedBytesPerStep: number;
}

export async function measureReplay(cluster: JobsCluster, steps: number): Promise<ReplayResult> {
  const before = await cluster.storedBytes();
  const job = await cluster.startJob(0, "long", { steps });
  const { events } = await waiting(cluster, job);
  const storedBytesPerStep = ((await cluster.storedBytes()) - before) / steps;
  const startMs = performance.now();
  await cluster.letGo(job);
  const output = await cluster.outputOf(1, job);
  const signalToResultMs = performance.now() - startMs;
  expectSum(output, (steps * (steps + 1)) / 2);
  return { events, replayMs: longSchema.parse(output).replayMs, signalToResultMs, storedBytesPerStep };
}

async function waiting(cluster: JobsCluster, job: string): Promise<{ readonly events: number }> {
  for (const startMs = performance.now(); performance.now() - startMs < WAIT_MS_MAX;) {
    const state = await cluster.state(job);
    if (state.status === "waiting") return state;
    await sleep(POLL_MS);
  }
  throw new RangeError(`job ${job} does not wait after ${WAIT_MS_MAX} ms`);
}
