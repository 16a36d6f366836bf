// Owns: what a node says of its last second, and the shape of it on the wire. What a peer sends is checked and bounded
// here; what does not fit is refused as a whole, and counted by whoever received it.
import type { NodeId } from "../../base/ids.ts";
import type { InstanceLoad } from "../../slices/core/instance-load.ts";
import { type FactName, type Facts, isFactName } from "./facts.ts";
import { Histogram } from "../../base/histogram.ts";
import {
  amountOf, booleanOf, countOf, decodeMetrics, encodeMetrics, garbled, knownAmountOf, listOf, textOf,
} from "./metrics-wire.ts";

/** `made`: as the caller's node sees it, retries and waits included. `handled`: as the instance's node sees it. */
export type CallDirection = "made" | "handled";

export interface MethodReport {
  readonly slice: string;
  readonly method: string;
  readonly direction: CallDirection;
  /** Calls that ended in the interval, those with an error included. */
  readonly calls: number;
  readonly errors: number;
  readonly durations: Histogram;
}

export interface InstanceReport extends Omit<InstanceLoad, "loopBusyMs"> {
  /** Part of the interval in which its worker's event loop was busy; undefined where that is not known. */
  readonly loopUtilization: number | undefined;
}

export interface NodeReport {
  /** Counts from the start of the process. */
  readonly seq: number;
  /** How long what happened took to happen: about a second. */
  readonly intervalMs: number;
  readonly facts: Facts;
  readonly methods: readonly MethodReport[];
  readonly instances: readonly InstanceReport[];
  /** Of both, what the node had beyond its limits. */
  readonly left: number;
}

/** Methods of one report, each direction counted; those with the most calls are told. */
export const REPORT_METHODS_MAX = 200;
export const REPORT_INSTANCES_MAX = 200;
/** Of the name of an instance: group, name, version, index. */
const INSTANCE_LENGTH_MAX = 300;
const NAME_LENGTH_MAX = 64;
const FACTS_MAX = 256;
/** Of one method or instance, those of newer builds included. */
const FIELDS_MAX = 32;

export function encodeReport({ seq, intervalMs, facts, methods, instances, left }: NodeReport): Uint8Array {
  return encodeMetrics("report", [
    seq, intervalMs, facts, methods.map(methodToWire), instances.map(instanceToWire), left,
  ]);
}

/** Undefined for what no node can have said. More fields may follow from a newer build, here and below. */
export function parseReport(fields: readonly unknown[]): NodeReport | undefined {
  return decodeMetrics(() => {
    const [seq, intervalMs, facts, methods, instances, left] = fields;
    const report = {
      seq: countOf(seq),
      intervalMs: amountOf(intervalMs),
      facts: factsOf(facts),
      methods: listOf(methods, REPORT_METHODS_MAX).map(methodOf),
      instances: listOf(instances, REPORT_INSTANCES_MAX).map(instanceOf),
      left: countOf(left),
    };
    if (report.intervalMs < 1) throw garbled();
    return report;
  });
}

/** Of a newer build there may be more: those that are known here. */
export function factsOf(value: unknown): Facts {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw garbled();
  const given = Object.entries(value);
  if (given.length > FACTS_MAX) throw garbled();
  const facts: Partial<Record<FactName, number>> = {};
  for (const [name, number] of given) if (isFactName(name)) facts[name] = amountOf(number);
  return facts;
}

export function methodToWire({ slice, method, direction, calls, errors, durations }: MethodReport): unknown {
  return [slice, method, direction === "made", calls, errors, durations.encode()];
}

/** @throws AetherError E_INVALID */
export function methodOf(value: unknown): MethodReport {
  const [slice, method, isMade, calls, errors, durations] = listOf(value, FIELDS_MAX);
  if (!(durations instanceof Uint8Array)) throw garbled();
  return {
    slice: textOf(slice, NAME_LENGTH_MAX),
    method: textOf(method, NAME_LENGTH_MAX),
    direction: booleanOf(isMade) ? "made" : "handled",
    calls: amountOf(calls),
    errors: amountOf(errors),
    durations: Histogram.decode(durations),
  };
}

export function instanceToWire(report: InstanceReport): readonly unknown[] {
  const { instance, slice, loopUtilization, heapUsedBytes, heapBytesMax, inFlight, queued } = report;
  return [instance, slice, loopUtilization ?? null, heapUsedBytes ?? null, heapBytesMax, inFlight, queued];
}

/** @throws AetherError E_INVALID */
export function instanceOf(value: unknown): InstanceReport {
  const [instance, slice, loopUtilization, heapUsedBytes, heapBytesMax, inFlight, queued] = listOf(value, FIELDS_MAX);
  return {
    instance: textOf(instance, INSTANCE_LENGTH_MAX),
    slice: textOf(slice, NAME_LENGTH_MAX),
    loopUtilization: knownAmountOf(loopUtilization),
    heapUsedBytes: knownAmountOf(heapUsedBytes),
    heapBytesMax: amountOf(heapBytesMax),
    inFlight: countOf(inFlight),
    queued: countOf(queued),
  };
}

/** A report, and when it came. */
export interface HeardReport {
  readonly node: NodeId;
  readonly report: NodeReport;
  readonly atMs: number;
}
