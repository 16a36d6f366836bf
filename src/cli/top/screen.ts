// Owns: what `aether top` shows of one second of the cluster, as lines that fit a terminal. Pure.
import { z } from "zod";
import { GiB, MiB, SECOND_MS } from "../../base/units.ts";
import { printable } from "../printable.ts";
import { table } from "../table.ts";

const number = z.number().nullish();
const factsSchema = z.record(z.string(), number);
const callsSchema = { callsPerSecond: number, errorsPerSecond: number, p50Ms: number, p99Ms: number };

const alertSchema = z.object({ severity: z.string(), subject: z.string(), text: z.string() });

/** Of the answer of `GET /v1/metrics`, what is shown here; the snapshot is null before the first second. */
export const topSchema = z.object({
  /** Errors first. A node of an earlier build does not say them here. */
  alerts: z.array(alertSchema).exactOptional(),
  snapshot: z.object({
    leader: z.string(),
    ageMs: z.number(),
    isStale: z.boolean(),
    cluster: factsSchema,
    nodes: z.array(z.object({ node: z.string(), isStale: z.boolean(), facts: factsSchema })),
    slices: z.array(z.object({ slice: z.string(), instances: number, queued: number, ...callsSchema })),
    methods: z.array(z.object({ slice: z.string(), method: z.string(), direction: z.string(), ...callsSchema })),
  }).nullable(),
});
export type TopSnapshot = NonNullable<z.output<typeof topSchema>["snapshot"]>;
export type TopAlerts = z.output<typeof topSchema>["alerts"];
type Value = number | null | undefined;
type Calls = Readonly<Partial<Record<"callsPerSecond" | "errorsPerSecond" | "p50Ms" | "p99Ms", Value>>>;

/** By what slices and methods are in order, the most first; `name`: from a on. */
export const ORDERS = ["calls", "errors", "p99", "name"] as const;
export type Order = (typeof ORDERS)[number];

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** What of a snapshot is shown, and how. */
export interface Shown {
  readonly order: Order;
  /** Slices and methods with this in their name; all for the empty one. */
  readonly filter: string;
}

/** All lines where no size is given; else those that fit, with methods left out first. */
export function screenLines(
  { snapshot, alerts }: { readonly snapshot: TopSnapshot; readonly alerts: TopAlerts },
  { order, filter }: Shown,
  size?: Size,
): readonly string[] {
  const isFound = (name: string): boolean => name.includes(filter);
  const slices = snapshot.slices.filter(({ slice }) => isFound(slice));
  const methods = snapshot.methods.filter(({ slice, method, direction }) =>
    direction === "handled" && isFound(`${slice}.${method}`));
  const lines = [
    ...headLines(snapshot),
    ...alertLines(alerts),
    "",
    ...nodeLines(snapshot),
    "",
    ...sliceLines(inOrder(slices, order, ({ slice }) => slice)),
    "",
    ...methodLines(inOrder(methods, order, ({ slice, method }) => `${slice}.${method}`)),
  ].map(printable);
  return size === undefined ? lines : lines.slice(0, size.rows).map((line) => line.slice(0, size.columns));
}

/** One line however many fire: the screen is for numbers, and `aether alerts` says all of them and what to do. */
export function alertLines(alerts: TopAlerts): readonly string[] {
  const first = alerts?.[0];
  if (alerts === undefined) return [];
  if (first === undefined) return ["no alert fires"];
  const more = alerts.length === 1 ? "" : ` (and ${alerts.length - 1} more: aether alerts)`;
  return [printable(`${first.severity.toUpperCase()} ${first.subject}: ${first.text}${more}`)];
}

function headLines({ leader, ageMs, isStale, cluster, nodes }: TopSnapshot): readonly string[] {
  const of = (name: string): Value => cluster[name];
  const age = isStale ? `STALE: as of ${Math.round(ageMs / SECOND_MS)} s ago, ` : "";
  const alive = nodes.filter((node) => !node.isStale).length;
  return [
    `${age}${alive} of ${nodes.length} nodes report to ${leader}; calls ${rate(of("callsPerSecond"))}, ` +
      `failed ${rate(of("callErrorsPerSecond"))}; slots ${rate(of("slotsPerSecond"))}`,
    `jobs: ${whole(of("jobsRunning"))} run, ${whole(of("jobsRunnable"))} wait for a node ` +
      `(the first for ${ms(of("oldestRunnableMs"))}), ended ${rate(of("jobsEndedPerSecond"))}, ` +
      `failed ${rate(of("jobsFailedPerSecond"))}; steps ${rate(of("stepsPerSecond"))}, ` +
      `tools ${rate(of("toolCallsPerSecond"))}; an unknown call waits for ${ms(of("oldestUnknownMs"))}`,
  ];
}

function nodeLines({ nodes }: TopSnapshot): readonly string[] {
  const rows = nodes.map(({ node, isStale, facts }) => {
    const of = (name: string): Value => facts[name];
    return [
      isStale ? `${node} STALE` : node, fixed(of("cpuCores"), 2), part(of("loopUtilization")),
      ms(of("loopDelayMsMax")), bytes(of("rssBytes")), rate(of("callsPerSecond")), whole(of("instances")),
      whole(of("callsQueued")), whole(of("jobsRunning")), whole(of("unappliedSlots")), ms(of("diskWriteMsP99")),
    ];
  });
  const heads = ["NODE", "CPU", "LOOP", "DELAY", "MEMORY", "CALLS", "INST", "QUEUED", "JOBS", "LAG", "DISK P99"];
  return table(heads, rows).split("\n");
}

function sliceLines(slices: readonly TopSnapshot["slices"][number][]): readonly string[] {
  const rows = slices.map((one) => [one.slice, whole(one.instances), ...callCells(one), whole(one.queued)]);
  return table(["SLICE", "INST", "CALLS", "FAILED", "P50", "P99", "QUEUED"], rows).split("\n");
}

function methodLines(methods: readonly TopSnapshot["methods"][number][]): readonly string[] {
  const rows = methods.map((one) => [`${one.slice}.${one.method}`, ...callCells(one)]);
  return table(["METHOD", "CALLS", "FAILED", "P50", "P99"], rows).split("\n");
}

function callCells({ callsPerSecond, errorsPerSecond, p50Ms, p99Ms }: Calls): readonly string[] {
  return [rate(callsPerSecond), rate(errorsPerSecond), ms(p50Ms), ms(p99Ms)];
}

function inOrder<T extends Calls>(all: readonly T[], order: Order, nameOf: (one: T) => string): readonly T[] {
  const weight = (one: T): number =>
    order === "calls" ? one.callsPerSecond ?? 0 :
    order === "errors" ? one.errorsPerSecond ?? 0 :
    order === "p99" ? one.p99Ms ?? 0 : 0;
  return [...all].sort((a, b) => weight(b) - weight(a) || (nameOf(a) < nameOf(b) ? -1 : 1));
}

function fixed(value: Value, digits: number): string {
  return typeof value === "number" ? value.toFixed(digits) : "-";
}

function whole(value: Value): string {
  return fixed(value, 0);
}

function rate(value: Value): string {
  return typeof value === "number" ? `${value.toFixed(value < 10 ? 1 : 0)}/s` : "-";
}

function part(value: Value): string {
  return typeof value === "number" ? `${Math.round(100 * value)}%` : "-";
}

function ms(value: Value): string {
  if (typeof value !== "number") return "-";
  return value >= 10 * SECOND_MS ? `${Math.round(value / SECOND_MS)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

function bytes(value: Value): string {
  if (typeof value !== "number") return "-";
  return value >= GiB ? `${(value / GiB).toFixed(1)} GiB` : `${Math.round(value / MiB)} MiB`;
}
