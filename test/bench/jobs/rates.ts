// Owns: jobs in closed loops: how many per second, how long one takes, and what each costs the nodes in processor time.
// Every result is checked: a job that lost a step counts as failed.
import { performance } from "node:perf_hooks";
import { runClosedLoop, type LoopOptions, type LoopResult } from "../closed-loop.ts";
import type { JobsCluster } from "./jobs-cluster.ts";

export const STEPS = 10;
const SUM = (STEPS * (STEPS + 1)) / 2;
const VALUE = "x".repeat(256);
const KEYS = 100;
const SLOW_STEP_MS = 5;

export interface Work {
  readonly name: string;
  /** Recorded steps, or calls of tools, of each; 0 for what has none. */
  readonly steps: number;
  readonly clients: readonly number[];
  run(cluster: JobsCluster, client: number, count: number): Promise<unknown>;
}

export interface RateResult extends LoopResult {
  /** Of all nodes together, for each request. */
  readonly cpuMs: number;
}

export const WORKS: readonly Work[] = [
  {
    name: "put of 256 bytes", steps: 0, clients: [1, 64],
    run: (cluster, client, count) => cluster.put(client, `bench/${client}/${count % KEYS}`, VALUE),
  },
  stepsOf({ name: "job without steps", clients: [1, 64], input: { steps: 0, effect: "barrier" } }),
  stepsOf({ name: `job of ${STEPS} steps`, clients: [1, 64], input: { steps: STEPS, effect: "barrier" } }),
  stepsOf({ name: `job of ${STEPS} steps that only read`, clients: [1, 64], input: { steps: STEPS, effect: "read" } }),
  stepsOf({
    name: `job of ${STEPS} steps of ${SLOW_STEP_MS} ms`, clients: [64],
    input: { steps: STEPS, effect: "barrier", stepMs: SLOW_STEP_MS },
  }),
  {
    name: "job of one call that is made once", steps: 1, clients: [1],
    run: async (cluster, client) => expectSum(await cluster.run(client, "payer", { calls: 1 }), 1),
  },
];

export async function measureWork(
  cluster: JobsCluster, work: Work, loop: LoopOptions,
): Promise<RateResult> {
  let done = 0;
  const before = cluster.cpuSeconds();
  const result = await runClosedLoop(loop, async (client, count) => {
    await work.run(cluster, client, count);
    done += 1;
  });
  return { ...result, cpuMs: ((cluster.cpuSeconds() - before) * 1_000) / done };
}

/** What a call that is made once takes, from call to call in one job: its grant, its dispatch, its record. */
export async function measureCalls(cluster: JobsCluster, calls: number): Promise<number> {
  await cluster.run(0, "payer", { calls });
  const startMs = performance.now();
  expectSum(await cluster.run(0, "payer", { calls }), (calls * (calls + 1)) / 2);
  return (performance.now() - startMs) / calls;
}

function stepsOf(
  { name, clients, input }: Pick<Work, "name" | "clients"> & { readonly input: StepsInput },
): Work {
  const sum = input.steps === 0 ? 0 : SUM;
  return {
    name, clients, steps: input.steps,
    run: async (cluster, client) => expectSum(await cluster.run(client, "steps", input), sum),
  };
}

interface StepsInput {
  readonly steps: number;
  readonly effect: "barrier" | "read";
  readonly stepMs?: number;
}

export function expectSum(output: unknown, sum: number): void {
  const found = typeof output === "object" && output !== null && "sum" in output ? output.sum : undefined;
  if (found !== sum) throw new RangeError(`a job answered ${JSON.stringify(output)} instead of ${sum}`);
}
