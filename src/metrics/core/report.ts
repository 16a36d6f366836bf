// Owns: what a node says of its last second, and the shape of it on the wire. What a peer sends is checked and bounded
// here; what does not fit is refused as a whole, and counted by whoever received it.
import { z } from "zod";
import type { NodeId } from "../../base/ids.ts";
import type { InstanceLoad } from "../../slices/core/instance-load.ts";
import { type FactName, type Facts, isFactName } from "./facts.ts";
import { Histogram, HISTOGRAM_BYTES_MAX } from "../../base/histogram.ts";
import { decodeMetrics, encodeMetrics } from "./metrics-wire.ts";

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

const amount = z.number().min(0).max(Number.MAX_SAFE_INTEGER);
const count = z.int().min(0);
const name = z.string().min(1).max(NAME_LENGTH_MAX);
const unknownAmount = z.union([amount, z.null()]);

export const factsSchema = z.record(z.string().max(NAME_LENGTH_MAX), amount).transform((given, context) => {
  const names = Object.keys(given);
  if (names.length > FACTS_MAX) context.addIssue({ code: "custom", message: "too many facts" });
  // Of a newer build there may be more.
  const facts: Partial<Record<FactName, number>> = {};
  for (const [known, value] of Object.entries(given)) if (isFactName(known)) facts[known] = value;
  return facts satisfies Facts;
});
export const durationsSchema = z.instanceof(Uint8Array).transform((bytes, context) => {
  if (bytes.byteLength <= HISTOGRAM_BYTES_MAX) return Histogram.decode(bytes);
  context.addIssue({ code: "custom", message: "too long for a histogram" });
  return z.NEVER;
});
/** More fields may follow from a newer build, here and below. */
export const methodSchema = z.tuple([name, name, z.boolean(), amount, amount, durationsSchema]).rest(z.unknown());
export const instanceSchema = z.tuple([
  z.string().min(1).max(INSTANCE_LENGTH_MAX), name, unknownAmount, unknownAmount, amount, count, count,
]).rest(z.unknown());

const reportSchema = z.tuple([
  count,
  z.number().min(1).max(3_600_000),
  factsSchema,
  z.array(methodSchema).max(REPORT_METHODS_MAX),
  z.array(instanceSchema).max(REPORT_INSTANCES_MAX),
  count,
]).rest(z.unknown());

export function encodeReport({ seq, intervalMs, facts, methods, instances, left }: NodeReport): Uint8Array {
  return encodeMetrics("report", [
    seq, intervalMs, facts, methods.map(methodToWire), instances.map(instanceToWire), left,
  ]);
}

/** Undefined for what no node can have said. */
export function parseReport(fields: readonly unknown[]): NodeReport | undefined {
  return decodeMetrics(reportSchema, fields, ([seq, intervalMs, facts, methods, instances, left]) => ({
    seq, intervalMs, facts, methods: methods.map(methodOf), instances: instances.map(instanceOf), left,
  }));
}

export function methodToWire({ slice, method, direction, calls, errors, durations }: MethodReport): unknown {
  return [slice, method, direction === "made", calls, errors, durations.encode()];
}

export function methodOf(fields: z.output<typeof methodSchema>): MethodReport {
  const [slice, method, isMade, calls, errors, durations] = fields;
  return { slice, method, direction: isMade ? "made" : "handled", calls, errors, durations };
}

export function instanceToWire(report: InstanceReport): readonly unknown[] {
  const { instance, slice, loopUtilization, heapUsedBytes, heapBytesMax, inFlight, queued } = report;
  return [instance, slice, loopUtilization ?? null, heapUsedBytes ?? null, heapBytesMax, inFlight, queued];
}

export function instanceOf(fields: z.output<typeof instanceSchema>): InstanceReport {
  const [instance, slice, loopUtilization, heapUsedBytes, heapBytesMax, inFlight, queued] = fields;
  return {
    instance,
    slice,
    loopUtilization: loopUtilization ?? undefined,
    heapUsedBytes: heapUsedBytes ?? undefined,
    heapBytesMax,
    inFlight,
    queued,
  };
}

/** A report, and when it came. */
export interface HeardReport {
  readonly node: NodeId;
  readonly report: NodeReport;
  readonly atMs: number;
}
