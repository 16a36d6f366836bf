// Owns: what becomes of a cluster as it is written to: memory of each node under many versions of the same keys, and
// the rate of puts as the number of keys grows.
import { runClosedLoop, runRequests } from "../closed-loop.ts";
import type { BenchCluster } from "../cluster.ts";
import { residentBytes } from "../process-stats.ts";
import { median } from "../statistics.ts";
import { numberedKey, valueOf } from "../values.ts";

/** Requests under way while a cluster is filled. */
const FILLERS = 256;
const CLIENTS = 64;
/** Spreads numbers over the keys without a pattern that a storage engine could like. */
const STRIDE = 7_919;

export interface MemoryPlan {
  readonly keys: number;
  /** Puts after which memory is looked at; growing. */
  readonly marks: readonly number[];
}

export interface MemoryResult {
  readonly system: string;
  readonly keys: number;
  readonly marks: readonly { readonly puts: number; readonly residentBytes: readonly number[] }[];
  readonly failed: number;
}

export async function measureMemory(
  cluster: BenchCluster,
  plan: MemoryPlan,
  progress: (line: string) => void,
): Promise<MemoryResult> {
  const target = cluster.connect("pinned");
  const marks: { puts: number; residentBytes: number[] }[] = [];
  let failed = 0;
  let puts = 0;
  for (const mark of plan.marks) {
    const before = puts;
    failed += await runRequests(FILLERS, mark - before, (client, count) => {
      const number = before + count;
      return target.put(client, numberedKey((number * STRIDE) % plan.keys), valueOf(`${number}/`));
    });
    puts = mark;
    marks.push({ puts, residentBytes: cluster.pids.map((pid) => residentBytes(pid) ?? Number.NaN) });
    progress(`${cluster.system}: ${puts} puts: ${describeBytes(marks.at(-1)?.residentBytes ?? [])}`);
  }
  target.close();
  return { system: cluster.system, keys: plan.keys, marks, failed };
}

export interface KeysPlan {
  readonly keyCounts: readonly number[];
  readonly rounds: number;
  readonly measureMs: number;
}

export interface KeysResult {
  readonly system: string;
  readonly clients: number;
  readonly rows: readonly { readonly keys: number; readonly perSecond: number; readonly p99Ms: number }[];
}

export async function measureKeys(
  cluster: BenchCluster,
  plan: KeysPlan,
  progress: (line: string) => void,
): Promise<KeysResult> {
  const target = cluster.connect("pinned");
  const rows: { keys: number; perSecond: number; p99Ms: number }[] = [];
  let filled = 0;
  let number = 0;
  for (const keys of plan.keyCounts) {
    const first = filled;
    await runRequests(FILLERS, keys - first, (client, count) =>
      target.put(client, numberedKey(first + count), valueOf(`${first + count}/`)));
    filled = keys;
    const runs: { perSecond: number; p99Ms: number }[] = [];
    for (let round = 0; round < plan.rounds; round++) {
      runs.push(await runClosedLoop({ clients: CLIENTS, warmUpMs: 500, measureMs: plan.measureMs }, (client) => {
        number += 1;
        return target.put(client, numberedKey((number * STRIDE) % keys), valueOf(`${number}/`));
      }));
    }
    const row = {
      keys,
      perSecond: median(runs.map((run) => run.perSecond)),
      p99Ms: median(runs.map((run) => run.p99Ms)),
    };
    rows.push(row);
    progress(`${cluster.system}: ${keys} keys: ${row.perSecond} puts/s, p99 ${row.p99Ms.toFixed(1)} ms`);
  }
  target.close();
  return { system: cluster.system, clients: CLIENTS, rows };
}

function describeBytes(bytes: readonly number[]): string {
  return bytes.map((each) => `${Math.round(each / 2 ** 20)} MiB`).join(", ");
}
