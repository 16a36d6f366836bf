// Owns: the names of series, and the numbers that one snapshot gives to them. Names are paths:
//   cluster/{fact}  node/{node}/{fact}  slice/{slice}/{number}  method/{slice}/{method}/{direction}/{number}
import { combineFacts, type Facts } from "./facts.ts";
import { Histogram } from "../../base/histogram.ts";
import type { InstanceMetrics, MethodMetrics, ClusterSnapshot } from "./snapshot.ts";

/** What is told of the calls of a method, or of all methods of a slice. */
export interface CallNumbers {
  readonly callsPerSecond: number;
  readonly errorsPerSecond: number;
  /** Of the calls of the last second; undefined when none ended. */
  readonly p50Ms: number | undefined;
  readonly p95Ms: number | undefined;
  readonly p99Ms: number | undefined;
  readonly meanMs: number | undefined;
}

/** Calls are those that its instances handled. */
export interface SliceNumbers extends CallNumbers {
  readonly instances: number;
  readonly inFlight: number;
  readonly queued: number;
  readonly heapUsedBytes: number;
  /** Of the instances that say it. */
  readonly loopUtilizationMean: number | undefined;
  readonly loopUtilizationMax: number | undefined;
}

/** The facts of all nodes that are not stale as one. */
export function clusterFacts({ nodes }: ClusterSnapshot): Facts {
  return combineFacts(nodes.filter(({ isStale }) => !isStale).map(({ facts }) => facts));
}

export function callNumbers({ callsPerSecond, errorsPerSecond, durations }: MethodMetrics): CallNumbers {
  return { callsPerSecond, errorsPerSecond, ...durationNumbers(durations) };
}

/** Slices with an instance, or with calls, in the order of their names. */
export function sliceNumbers({ instances, methods }: ClusterSnapshot): ReadonlyMap<string, SliceNumbers> {
  const handled = methods.filter(({ direction }) => direction === "handled");
  const names = new Set([...instances, ...handled].map(({ slice }) => slice));
  return new Map([...names].sort().map((name) => [name, numbersOf(
    instances.filter(({ slice }) => slice === name),
    handled.filter(({ slice }) => slice === name),
  )]));
}

/** Every series of the snapshot with its number. */
export function seriesOf(snapshot: ClusterSnapshot): ReadonlyMap<string, number> {
  const series = new Map<string, number>();
  const put = (prefix: string, numbers: object): void => {
    for (const [name, value] of Object.entries(numbers)) {
      if (typeof value === "number") series.set(`${prefix}/${name}`, value);
    }
  };
  put("cluster", clusterFacts(snapshot));
  put("cluster/calls", callNumbers(allMade(snapshot)));
  for (const { node, isStale, facts } of snapshot.nodes) if (!isStale) put(`node/${node}`, facts);
  for (const [slice, numbers] of sliceNumbers(snapshot)) put(`slice/${slice}`, numbers);
  for (const method of snapshot.methods) {
    put(`method/${method.slice}/${method.method}/${method.direction}`, callNumbers(method));
  }
  return series;
}

/** Whether the number may stand for many seconds as their maximum: a peak is what matters of it. */
export function isPeakSeries(series: string): boolean {
  return /(?:Max|p95Ms|p99Ms)$/.test(series) || /\/oldest/.test(series);
}

/** All calls made from all nodes as those of one method. */
export function allMade({ methods }: ClusterSnapshot): MethodMetrics {
  return sumOf(methods.filter(({ direction }) => direction === "made"));
}

function numbersOf(instances: readonly InstanceMetrics[], methods: readonly MethodMetrics[]): SliceNumbers {
  const busy = instances.flatMap(({ loopUtilization: one }) => (one === undefined ? [] : [one]));
  const total = (of: (one: InstanceMetrics) => number): number => instances.reduce((sum, one) => sum + of(one), 0);
  return {
    ...callNumbers(sumOf(methods)),
    instances: instances.length,
    inFlight: total(({ inFlight }) => inFlight),
    queued: total(({ queued }) => queued),
    heapUsedBytes: total(({ heapUsedBytes }) => heapUsedBytes ?? 0),
    loopUtilizationMean: busy.length === 0 ? undefined : busy.reduce((sum, one) => sum + one, 0) / busy.length,
    loopUtilizationMax: busy.length === 0 ? undefined : Math.max(...busy),
  };
}

function sumOf(methods: readonly MethodMetrics[]): MethodMetrics {
  const durations = new Histogram();
  for (const method of methods) durations.merge(method.durations);
  return {
    slice: "",
    method: "",
    direction: "made",
    callsPerSecond: methods.reduce((sum, { callsPerSecond }) => sum + callsPerSecond, 0),
    errorsPerSecond: methods.reduce((sum, { errorsPerSecond }) => sum + errorsPerSecond, 0),
    durations,
  };
}

function durationNumbers(durations: Histogram): Pick<CallNumbers, "p50Ms" | "p95Ms" | "p99Ms" | "meanMs"> {
  return {
    p50Ms: durations.percentile(0.5),
    p95Ms: durations.percentile(0.95),
    p99Ms: durations.percentile(0.99),
    meanMs: durations.count === 0 ? undefined : durations.sumMs / durations.count,
  };
}
