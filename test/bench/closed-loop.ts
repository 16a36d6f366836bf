// Owns: closed-loop load: N clients that each send the next request when the last one was answered, for a fixed time
// or a fixed number of requests.
// A closed loop slows down with the system it measures: its latencies are those at the throughput reached, no more.
import { performance } from "node:perf_hooks";
import { percentile } from "./statistics.ts";

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

export type LoopRequest = (client: number, count: number) => Promise<unknown>;

/** A client that is refused waits this long, so that it does not spin. */
const REFUSED_PAUSE_MS = 5;

export async function runClosedLoop(options: LoopOptions, request: LoopRequest): Promise<LoopResult> {
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
        await new Promise((resolve) => setTimeout(resolve, REFUSED_PAUSE_MS));
        continue;
      }
      const doneMs = performance.now();
      if (doneMs >= fromMs && doneMs <= untilMs) latencies.push(doneMs - sentMs);
    }
  };
  await Promise.all(Array.from({ length: options.clients }, (_, index) => client(index)));
  return {
    clients: options.clients,
    perSecond: Math.round((latencies.length * 1_000) / options.measureMs),
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    failed,
  };
}

/** Requests 0 to total - 1, whatever becomes of each. Answers how many failed. */
export async function runRequests(clients: number, total: number, request: LoopRequest): Promise<number> {
  let next = 0;
  let failed = 0;
  const client = async (index: number): Promise<void> => {
    for (let count = next++; count < total; count = next++) {
      try {
        await request(index, count);
      } catch {
        // ignored: counted
        failed += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
  return failed;
}

/** The run with the median rate. */
export function medianRun<T extends { readonly perSecond: number }>(runs: readonly T[]): T | undefined {
  return [...runs].sort((a, b) => a.perSecond - b.perSecond)[Math.floor((runs.length - 1) / 2)];
}
