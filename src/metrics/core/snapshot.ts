// Owns: what the leader makes of the latest reports of all nodes, and the shape of it on the wire.
// M1  A node that has not reported lately is in no aggregate; it is shown, and shown as stale.
import { parseNodeId, type NodeId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Facts } from "./facts.ts";
import { Histogram } from "../../base/histogram.ts";
import { type LeaderWord, wordOf, wordToWire } from "./leader-word.ts";
import { booleanOf, countOf, decodeMetrics, encodeMetrics, knownAmountOf, listOf, textOf } from "./metrics-wire.ts";
import {
  factsOf, type HeardReport, instanceOf, type InstanceReport, instanceToWire, methodOf, type MethodReport, methodToWire,
} from "./report.ts";

export interface NodeMetrics {
  readonly node: NodeId;
  /** Since the leader got the node's last report; undefined when it has got none. */
  readonly ageMs: number | undefined;
  /** It has said nothing for `STALE_MS`: what it said last is not what is so now. */
  readonly isStale: boolean;
  readonly facts: Facts;
}

export type InstanceMetrics = InstanceReport & { readonly node: NodeId };

/** Calls of a method per second, of all nodes that are not stale. */
export interface MethodMetrics extends Omit<MethodReport, "calls" | "errors"> {
  readonly callsPerSecond: number;
  readonly errorsPerSecond: number;
}

/** One second of the cluster, as its leader saw it. */
export interface ClusterSnapshot {
  readonly leader: NodeId;
  /** Of the leader; a snapshot with a lower one is older. */
  readonly epoch: number;
  /** Counts within the epoch. */
  readonly seq: number;
  readonly nodes: readonly NodeMetrics[];
  readonly instances: readonly InstanceMetrics[];
  readonly methods: readonly MethodMetrics[];
  /** Nodes, instances and methods that had no room here or in a report. */
  readonly left: number;
}

/** After three reports that did not come. */
export const STALE_MS = 3_500;
export const SNAPSHOT_NODES_MAX = 64;
/** Of the cluster; those with the most calls are told. */
export const SNAPSHOT_METHODS_MAX = 1_000;
export const SNAPSHOT_INSTANCES_MAX = 1_000;

export interface AggregateInput {
  readonly leader: NodeId;
  readonly epoch: number;
  readonly seq: number;
  readonly nowMs: number;
  /** Those that belong to the cluster now. */
  readonly nodes: readonly NodeId[];
  readonly reports: ReadonlyMap<NodeId, HeardReport>;
}

export function aggregate({ leader, epoch, seq, nowMs, nodes, reports }: AggregateInput): ClusterSnapshot {
  const known = [...nodes].sort().slice(0, SNAPSHOT_NODES_MAX);
  const shown = known.map((node) => nodeMetrics(node, reports.get(node), nowMs));
  const fresh = shown.flatMap(({ node, isStale }) => (isStale ? [] : (reports.get(node) ?? [])));
  const methods = mergeMethods(fresh);
  const instances = fresh.flatMap(({ node, report }) => report.instances.map((one) => ({ node, ...one })));
  const told = {
    nodes: shown,
    methods: busiest(methods).slice(0, SNAPSHOT_METHODS_MAX),
    instances: instances.slice(0, SNAPSHOT_INSTANCES_MAX),
  };
  const cut = methods.length - told.methods.length + instances.length - told.instances.length +
    nodes.length - shown.length;
  const left = fresh.reduce((sum, { report }) => sum + report.left, cut);
  return { leader, epoch, seq, ...told, left };
}

function nodeMetrics(node: NodeId, heard: HeardReport | undefined, nowMs: number): NodeMetrics {
  if (heard === undefined) return { node, ageMs: undefined, isStale: true, facts: {} };
  const ageMs = Math.max(0, nowMs - heard.atMs);
  return { node, ageMs, isStale: ageMs > STALE_MS, facts: heard.report.facts };
}

function mergeMethods(reports: readonly HeardReport[]): readonly MethodMetrics[] {
  const merged = new Map<string, { -readonly [K in keyof MethodMetrics]: MethodMetrics[K] }>();
  for (const { report: { methods, intervalMs } } of reports) {
    const perSecond = SECOND_MS / intervalMs;
    for (const { slice, method, direction, calls, errors, durations } of methods) {
      const id = `${slice}/${method}/${direction}`;
      const sum = merged.get(id) ??
        { slice, method, direction, callsPerSecond: 0, errorsPerSecond: 0, durations: new Histogram() };
      sum.callsPerSecond += calls * perSecond;
      sum.errorsPerSecond += errors * perSecond;
      sum.durations.merge(durations);
      merged.set(id, sum);
    }
  }
  return [...merged.values()];
}

/** Most calls first; equals in an order that is the same everywhere. */
export function busiest<T extends Pick<MethodMetrics, "slice" | "method" | "callsPerSecond">>(
  methods: readonly T[],
): readonly T[] {
  return [...methods].sort((a, b) =>
    b.callsPerSecond - a.callsPerSecond || order(a.slice, b.slice) || order(a.method, b.method));
}

function order(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

export function encodeSnapshot(
  { leader, epoch, seq, nodes, instances, methods, left }: ClusterSnapshot, word: LeaderWord,
): Uint8Array {
  return encodeMetrics("snapshot", [
    leader,
    epoch,
    seq,
    nodes.map(({ node, ageMs, isStale, facts }) => [node, ageMs ?? null, isStale, facts]),
    instances.map((instance) => [instance.node, instanceToWire(instance)]),
    methods.map(({ callsPerSecond, errorsPerSecond, ...rest }) =>
      methodToWire({ ...rest, calls: callsPerSecond, errors: errorsPerSecond })),
    left,
    wordToWire(word),
  ]);
}

export interface HeardSnapshot extends ClusterSnapshot {
  /** Undefined of a build that has none. */
  readonly word: LeaderWord | undefined;
}

/** Undefined for what no leader can have said. */
export function parseSnapshot(fields: readonly unknown[]): HeardSnapshot | undefined {
  return decodeMetrics(() => {
    const [leader, epoch, seq, nodes, instances, methods, left, word] = fields;
    return {
      leader: nodeOf(leader),
      epoch: countOf(epoch),
      seq: countOf(seq),
      nodes: listOf(nodes, SNAPSHOT_NODES_MAX).map(nodeMetricsOf),
      instances: listOf(instances, SNAPSHOT_INSTANCES_MAX).map((value) => {
        const [node, instance] = listOf(value, PARTS_MAX);
        return { node: nodeOf(node), ...instanceOf(instance) };
      }),
      methods: listOf(methods, SNAPSHOT_METHODS_MAX).map((value) => {
        const { calls: callsPerSecond, errors: errorsPerSecond, ...rest } = methodOf(value);
        return { ...rest, callsPerSecond, errorsPerSecond };
      }),
      left: countOf(left),
      word: word === undefined ? undefined : wordOf(word),
    };
  });
}

/** Of what is told of a node or an instance, that of newer builds included. */
const PARTS_MAX = 32;
const NODE_LENGTH_MAX = 64;

function nodeMetricsOf(value: unknown): NodeMetrics {
  const [node, ageMs, isStale, facts] = listOf(value, PARTS_MAX);
  return { node: nodeOf(node), ageMs: knownAmountOf(ageMs), isStale: booleanOf(isStale), facts: factsOf(facts) };
}

function nodeOf(value: unknown): NodeId {
  return parseNodeId(textOf(value, NODE_LENGTH_MAX));
}
