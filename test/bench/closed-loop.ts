// Owns: closed-loop load: N clients that each send the next request when the last one was answered, for a fixed time.
// A closed loop slows down with the system it measures: its latencies are those at the throughput reached, no more.
import { performance } from "node:perf_hooks";

export interface LoopResult {
  readonly clients: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failed: number;
}

export interface LoopOptions {
  readonly clients: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export async function runClosedLoop(
  options: LoopOptions,
  request: (client: number, count: number) => Promise<unknown>,
): Promise<LoopResult> {
  const startMs = performance.now();
  const fromMs = startMs + options.warmUpMs;
  const untilMs = fromMs + options.measureMs;
  const latencies: number[] = [];
  let failed = 0;
  const client = async (index: number): Promise<void> => {
    for (let count = 0; performance.now() < untilMs; count++) {
      const sentMs = performance.now();
      try {
        await request(index, count);
      } catch {
        // ignored: counted, and shown beside the rate
        failed += 1;
        continue;
      }
      const doneMs = performance.now();
      if (doneMs >= fromMs && doneMs <= untilMs) latencies.push(doneMs - sentMs);
    }
  };
  await Promise.all(Array.from({ length: options.clients }, (_, index) => client(index)));
  latencies.sort((a, b) => a - b);
  return {
    clients: options.clients,
    perSecond: Math.round((latencies.length * 1_000) / options.measureMs),
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    failed,
  };
}

/** The run with the median rate. */
export function medianRun(runs: readonly LoopResult[]): LoopResult | undefined {
  return [...runs].sort((a, b) => a.perSecond - b.perSecond)[Math.floor(runs.length / 2)];
}

function percentile(sorted: readonly number[], fraction: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? 0;
}
