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
  const instancesBySlice = bySlice(instances);
  const methodsBySlice = bySlice(methods.filter(({ direction }) => direction === "handled"));
  const names = new Set([...instancesBySlice.keys(), ...methodsBySlice.keys()]);
  return new Map([...names].sort().map((name) =>
    [name, numbersOf(instancesBySlice.get(name) ?? [], methodsBySlice.get(name) ?? [])]));
}

/** In one go: there may be a thousand slices, every second. */
function bySlice<T extends { readonly slice: string }>(all: readonly T[]): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const group = groups.get(one.slice);
    if (group === undefined) groups.set(one.slice, [one]);
    else group.push(one);
  }
  return groups;
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
  const { callsPerSecond, errorsPerSecond, p50Ms, p95Ms, p99Ms, meanMs } =
    methods.length === 0 ? NO_CALLS : callNumbers(sumOf(methods));
  let inFlight = 0;
  let queued = 0;
  let heapUsedBytes = 0;
  let busy = 0;
  let busyMax = 0;
  let busyCount = 0;
  for (const one of instances) {
    inFlight += one.inFlight;
    queued += one.queued;
    heapUsedBytes += one.heapUsedBytes ?? 0;
    if (one.loopUtilization === undefined) continue;
    busy += one.loopUtilization;
    busyMax = Math.max(busyMax, one.loopUtilization);
    busyCount += 1;
  }
  return {
    callsPerSecond, errorsPerSecond, p50Ms, p95Ms, p99Ms, meanMs,
    instances: instances.length, inFlight, queued, heapUsedBytes,
    loopUtilizationMean: busyCount === 0 ? undefined : busy / busyCount,
    loopUtilizationMax: busyCount === 0 ? undefined : busyMax,
  };
}

const NO_CALLS: CallNumbers = {
  callsPerSecond: 0, errorsPerSecond: 0, p50Ms: undefined, p95Ms: undefined, p99Ms: undefined, meanMs: undefined,
};

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
