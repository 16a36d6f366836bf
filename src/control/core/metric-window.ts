// Owns: what rules can ask of the recent past: the metrics by name, and the port that gives their series.
// Does not own: collecting or keeping them.

/** Points of one metric, oldest first; both lists have the same length. Times are of the window's own clock. */
export interface Series {
  readonly atMs: readonly number[];
  readonly values: readonly number[];
}

/** What a metric is about. */
export type Scope = "slice" | "cluster";

/**
 * What becomes of a metric when a slice gets another number of instances for the same load: `shared` is divided among
 * them, `same` stays as it is. Nobody can tell for latencies, so they are taken to stay.
 */
export type Spread = "shared" | "same";

export interface MetricSpec {
  readonly scope: Scope;
  readonly spread: Spread;
  readonly doc: string;
}

/** Every metric that an expression may name. */
export const METRICS = {
  calls_per_second: { scope: "slice", spread: "same", doc: "Calls that ended, of all instances of the slice." },
  errors_per_second: { scope: "slice", spread: "same", doc: "Calls that failed, of all instances of the slice." },
  error_rate: { scope: "slice", spread: "same", doc: "The part of the calls that failed, 0 to 1; 0 without calls." },
  latency_p50_ms: { scope: "slice", spread: "same", doc: "Half of the calls of a second took at most so long." },
  latency_p95_ms: { scope: "slice", spread: "same", doc: "95 % of the calls of a second took at most so long." },
  latency_p99_ms: { scope: "slice", spread: "same", doc: "99 % of the calls of a second took at most so long." },
  queued: { scope: "slice", spread: "same", doc: "Calls that wait for an instance, of all instances of the slice." },
  in_flight: { scope: "slice", spread: "same", doc: "Calls under way, of all instances of the slice." },
  event_loop: {
    scope: "slice", spread: "shared", doc: "How busy an instance's event loop is, 0 to 1, mean over the instances.",
  },
  heap_bytes: { scope: "slice", spread: "same", doc: "Heap in use, of all instances of the slice." },
  cluster_cpu: { scope: "cluster", spread: "same", doc: "Cores in use by a node's process, mean over the nodes." },
  cluster_event_loop: {
    scope: "cluster", spread: "same", doc: "How busy a node's event loop is, 0 to 1, mean over the nodes.",
  },
} as const satisfies Record<string, MetricSpec>;

export type MetricName = keyof typeof METRICS;

export function isMetricName(name: string): name is MetricName {
  return Object.hasOwn(METRICS, name);
}

/** What the history of metrics calls them; of a slice `%` stands for its name. The rate of errors is made of two. */
export const HISTORY_NAMES: Readonly<Record<Exclude<MetricName, "error_rate">, string>> = {
  calls_per_second: "slice/%/callsPerSecond",
  errors_per_second: "slice/%/errorsPerSecond",
  latency_p50_ms: "slice/%/p50Ms",
  latency_p95_ms: "slice/%/p95Ms",
  latency_p99_ms: "slice/%/p99Ms",
  queued: "slice/%/queued",
  in_flight: "slice/%/inFlight",
  event_loop: "slice/%/loopUtilizationMean",
  heap_bytes: "slice/%/heapUsedBytes",
  cluster_cpu: "cluster/cpuCores",
  cluster_event_loop: "cluster/loopUtilization",
};

/** Both are of the same snapshots. */
export function errorRateOf(calls: Series, errors: Series): Series {
  const values = calls.values.map((count, at) => (count === 0 ? 0 : (errors.values[at] ?? 0) / count));
  return { atMs: calls.atMs, values };
}

/** The recent past as one node knows it. */
export interface MetricWindow {
  /** Undefined when nothing is known of it. `slice` is "" for a metric of the cluster. */
  series(metric: MetricName, slice: string): Series | undefined;
}
