// Owns: rate and latency of puts and linearizable gets in a closed loop, all systems in turn within one run.
import { type LoopResult, medianRun, runClosedLoop } from "../closed-loop.ts";
import type { BenchCluster, Target } from "../cluster.ts";
import { cpuSeconds, ownCpuSeconds } from "../process-stats.ts";
import { at } from "../statistics.ts";
import { clientKey, Expected, KEYS_PER_CLIENT, valueOf } from "../values.ts";

export interface ThroughputPlan {
  /** Each system works for so long, writing and then reading, before anything is measured. */
  readonly settleMs: number;
  readonly rounds: number;
  readonly clients: readonly number[];
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface Measured extends LoopResult {
  /** Processor time per second: 1 = one core. */
  readonly generatorCores: number;
  readonly nodesCores: number | undefined;
}

export interface ThroughputRow {
  readonly operation: "put" | "get";
  readonly clients: number;
  readonly target: string;
  /** The round with the median rate. */
  readonly median: Measured;
  readonly allPerSecond: readonly number[];
  readonly failed: number;
}

export interface ThroughputResult {
  readonly rows: readonly ThroughputRow[];
  /** Values that were read back and compared with what had been acknowledged. */
  readonly readBack: number;
}

const SETTLING_CLIENTS = 64;

export async function measureThroughput(
  targets: readonly Target[],
  plan: ThroughputPlan,
  progress: (line: string) => void,
): Promise<ThroughputResult> {
  const rows: ThroughputRow[] = [];
  const run = new Run(plan);
  for (const target of targets) {
    await run.fill(target);
    await run.settle(target);
  }
  for (const operation of ["put", "get"] as const) {
    for (const clients of plan.clients) {
      const runs = targets.map((): Measured[] => []);
      for (let round = 0; round < plan.rounds; round++) {
        // Each round begins with another system, so that none always follows the same one.
        for (let turn = 0; turn < targets.length; turn++) {
          const index = (round + turn) % targets.length;
          at(runs, index).push(await run.measure(operation, at(targets, index), clients));
        }
      }
      const fresh = targets.map((target, index) => rowOf({ operation, clients, target: target.name }, at(runs, index)));
      for (const row of fresh) progress(describeRow(row));
      rows.push(...fresh);
    }
  }
  return { rows, readBack: run.readBackCount() };
}

class Run {
  private readonly plan: ThroughputPlan;
  private readonly expected = new Map<BenchCluster, Expected>();
  private round = 0;

  constructor(plan: ThroughputPlan) {
    this.plan = plan;
  }

  /** Every key exists before anything is measured. */
  async fill(target: Target): Promise<void> {
    const clients = Math.max(...this.plan.clients);
    await Promise.all(Array.from({ length: clients }, async (_, client) => {
      for (let count = 0; count < KEYS_PER_CLIENT; count++) await this.put(target, client, count, "fill");
    }));
  }

  /** What is measured is a system that has been running: until then a just-in-time compiler does half of the work. */
  async settle(target: Target): Promise<void> {
    const load = { clients: SETTLING_CLIENTS, warmUpMs: 0, measureMs: this.plan.settleMs / 2 };
    await runClosedLoop(load, (client, count) => this.put(target, client, count, "settle"));
    await runClosedLoop(load, (client, count) => mustHave(target, client, clientKey(client, count)));
  }

  async measure(operation: "put" | "get", target: Target, clients: number): Promise<Measured> {
    const { pids } = target.cluster;
    this.round += 1;
    const tag = String(this.round);
    const request = operation === "put"
      ? (client: number, count: number) => this.put(target, client, count, tag)
      : (client: number, count: number) => mustHave(target, client, clientKey(client, count));
    const { warmUpMs, measureMs } = this.plan;
    const began = { own: ownCpuSeconds(), nodes: cpuSeconds(pids) };
    const result = await runClosedLoop({ clients, warmUpMs, measureMs }, request);
    const ended = { own: ownCpuSeconds(), nodes: cpuSeconds(pids) };
    const seconds = (warmUpMs + measureMs) / 1_000;
    if (operation === "put") await this.expectedOf(target).readBack(target);
    return {
      ...result,
      generatorCores: (ended.own - began.own) / seconds,
      nodesCores:
        ended.nodes === undefined || began.nodes === undefined ? undefined : (ended.nodes - began.nodes) / seconds,
    };
  }

  readBackCount(): number {
    return [...this.expected.values()].reduce((sum, expected) => sum + expected.verdict(), 0);
  }

  private put(target: Target, client: number, count: number, tag: string): Promise<void> {
    const value = valueOf(`${tag}/${client}/${count}/`);
    return this.expectedOf(target).put(target, client, clientKey(client, count), value);
  }

  private expectedOf({ cluster }: Target): Expected {
    const known = this.expected.get(cluster) ?? new Expected();
    this.expected.set(cluster, known);
    return known;
  }
}

async function mustHave(target: Target, client: number, key: string): Promise<void> {
  if ((await target.get(client, key)) === undefined) throw new Error(`${target.name}: ${key} is not there`);
}

function rowOf(
  what: Pick<ThroughputRow, "operation" | "clients" | "target">,
  runs: readonly Measured[],
): ThroughputRow {
  const median = medianRun(runs);
  if (median === undefined) throw new RangeError("no rounds");
  const failed = runs.reduce((sum, run) => sum + run.failed, 0);
  return { ...what, median, allPerSecond: runs.map((run) => run.perSecond), failed };
}

function describeRow({ operation, clients, target, median, allPerSecond, failed }: ThroughputRow): string {
  const { perSecond, p50Ms, p99Ms, generatorCores, nodesCores } = median;
  const latency = `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;
  const cores = `generator ${generatorCores.toFixed(2)} cores, nodes ${nodesCores?.toFixed(2) ?? "?"}`;
  return `${operation} x ${clients}: ${target}: ${perSecond}/s (${allPerSecond.join(" ")}), ${latency}, ${cores}, ` +
    `${failed} failed`;
}
