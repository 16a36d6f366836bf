// Owns: how long no write is acknowledged after a node is killed with SIGKILL, while writers go on at a steady pace.
// Open loop: a new write every few milliseconds on every connection, whatever became of those before; so a gap ends
// with the first write that the cluster takes, not with the patience of one that was under way.
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { BenchCluster } from "../cluster.ts";
import { percentile } from "../statistics.ts";
import { valueOf } from "../values.ts";

const PACE_MS = 5;
const UNDER_WAY_MAX = 2_000;
const BEFORE_MS = 1_000;
const AFTER_MS = 1_500;
const GAP_MS_MAX = 30_000;
const POLL_MS = 10;

export interface KillsPlan {
  /** `any`: every node in turn; `leader`: always the one that leads. */
  readonly victim: "any" | "leader";
  readonly kills: number;
}

export interface KillsResult {
  readonly system: string;
  readonly victim: KillsPlan["victim"];
  /** Longest time without an acknowledged write on any connection, one number per kill. */
  readonly gapsMs: readonly number[];
  /** Longest time without one on some single connection: its clients may have to find another node first. */
  readonly clientGapsMs: readonly number[];
  /** Longest time without one on any connection while the node comes back and after it. */
  readonly returnGapsMs: readonly number[];
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly clientP50Ms: number;
  readonly clientP99Ms: number;
  /** The same clients without a kill: what is noise. */
  readonly calmMs: number;
}

export async function measureKills(
  cluster: BenchCluster,
  plan: KillsPlan,
  progress: (line: string) => void,
): Promise<KillsResult> {
  const gapsMs: number[] = [];
  const clientGapsMs: number[] = [];
  const returnGapsMs: number[] = [];
  let calmMs = 0;
  for (let count = 0; count < plan.kills; count++) {
    const victim = plan.victim === "leader" ? ((await cluster.leader()) ?? 0) : count % cluster.size;
    const writers = new PacedWriters(cluster);
    await writers.untilAllServe();
    const startedMs = performance.now();
    await sleep(BEFORE_MS);
    calmMs = Math.max(calmMs, writers.longestGapMs(startedMs, performance.now()));
    const killedMs = performance.now();
    await cluster.kill(victim);
    await writers.untilAllServe();
    await sleep(AFTER_MS);
    const endedMs = performance.now();
    gapsMs.push(writers.longestGapMs(killedMs, endedMs));
    clientGapsMs.push(writers.longestClientGapMs(killedMs, endedMs));
    await cluster.start(victim);
    await sleep(AFTER_MS);
    returnGapsMs.push(writers.longestGapMs(endedMs, performance.now()));
    writers.stop();
    progress(`${cluster.system}: node ${victim} killed: ${Math.round(gapsMs.at(-1) ?? 0)} ms without a write, ` +
      `one connection ${Math.round(clientGapsMs.at(-1) ?? 0)} ms; back: ${Math.round(returnGapsMs.at(-1) ?? 0)} ms`);
  }
  return {
    system: cluster.system,
    victim: plan.victim,
    gapsMs,
    clientGapsMs,
    returnGapsMs,
    p50Ms: percentile(gapsMs, 0.5),
    p99Ms: percentile(gapsMs, 0.99),
    clientP50Ms: percentile(clientGapsMs, 0.5),
    clientP99Ms: percentile(clientGapsMs, 0.99),
    calmMs,
  };
}

/** One writer per connection, a write every few milliseconds each. */
class PacedWriters {
  private readonly acknowledgedMs: number[][];
  private readonly target: ReturnType<BenchCluster["connect"]>;
  private readonly timer: NodeJS.Timeout;
  private underWay = 0;
  private count = 0;

  constructor(cluster: BenchCluster) {
    this.target = cluster.connect("roaming");
    this.acknowledgedMs = Array.from({ length: cluster.size }, () => []);
    this.timer = setInterval(() => this.writeAll(), PACE_MS);
  }

  stop(): void {
    clearInterval(this.timer);
    this.target.close();
  }

  /** Until every connection has had a write acknowledged that was asked for from now on. */
  async untilAllServe(): Promise<void> {
    const sinceMs = performance.now();
    const isServed = (times: readonly number[]): boolean => (times.at(-1) ?? 0) > sinceMs + PACE_MS;
    while (!this.acknowledgedMs.every(isServed)) {
      if (performance.now() - sinceMs > GAP_MS_MAX) throw new Error(`no writes for ${GAP_MS_MAX} ms after a kill`);
      await sleep(POLL_MS);
    }
  }

  longestGapMs(fromMs: number, untilMs: number): number {
    return longestGap(this.acknowledgedMs.flat(), fromMs, untilMs);
  }

  longestClientGapMs(fromMs: number, untilMs: number): number {
    return Math.max(...this.acknowledgedMs.map((times) => longestGap(times, fromMs, untilMs)));
  }

  private writeAll(): void {
    for (const [client, times] of this.acknowledgedMs.entries()) {
      if (this.underWay >= UNDER_WAY_MAX) return;
      this.underWay += 1;
      this.count += 1;
      void this.target
        .put(client, `data/bench/kill/${client}/${this.count % 64}`, valueOf(`${this.count}/`))
        .then(
          () => times.push(performance.now()),
          () => undefined, // ignored: a gap is what is measured, and this write does not end it
        )
        .finally(() => (this.underWay -= 1));
    }
  }
}

function longestGap(times: readonly number[], fromMs: number, untilMs: number): number {
  const inside = times.filter((time) => time >= fromMs && time <= untilMs).sort((a, b) => a - b);
  const edges = [fromMs, ...inside, untilMs];
  return edges.reduce((longest, time, index) => Math.max(longest, time - (edges[index - 1] ?? time)), 0);
}
