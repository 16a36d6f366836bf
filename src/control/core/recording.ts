// Owns: a recorded load, as JSON or CSV, for trying out rules: what was measured of slices second by second.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { plainIssues, describeIssue } from "../../base/schema-issues.ts";
import { MiB, SECOND_MS } from "../../base/units.ts";
import { INSTANCES_MAX } from "../../sdk/blueprint.ts";
import { nameSchema } from "../../sdk/name.ts";
import { errorRateOf, HISTORY_NAMES, isMetricName, METRICS, type Series } from "./metric-window.ts";

/** Of a recording as text. */
export const RECORDING_BYTES_MAX = 32 * MiB;
/** Two hours of a hundred slices with seven metrics, and some. */
const POINTS_MAX = 10_000_000;

export interface RecordedSlice {
  /** What its blueprint says. */
  readonly instances: number;
  readonly minAvailable: number;
}

export interface Recording {
  readonly slices: ReadonlyMap<string, RecordedSlice>;
  /** By `metric slice`; of the cluster by `metric`. */
  readonly series: ReadonlyMap<string, Series>;
  readonly fromMs: number;
  readonly untilMs: number;
}

const pointSchema = z.tuple([z.number(), z.number()]);
const sliceSchema = z.strictObject({
  instances: z.int().min(1).max(INSTANCES_MAX).default(1),
  minAvailable: z.int().min(0).max(INSTANCES_MAX).default(0),
});
const jsonSchema = z.object({
  slices: z.record(nameSchema, sliceSchema).default({}),
  series: z.array(z.object({ name: z.string(), points: z.array(pointSchema).max(POINTS_MAX) })),
});

/** Metrics by their name in the history: `slice/%/queued`. */
const OF_HISTORY = new Map<string, string>(Object.entries(HISTORY_NAMES).map(([own, name]) => [name, own]));

/** @throws AetherError E_INVALID with the line of a CSV, or the place in a JSON, that is wrong; E_TOO_LARGE */
export function parseRecording(text: string): Recording {
  if (text.length > RECORDING_BYTES_MAX) {
    const message = `a recording has at most ${RECORDING_BYTES_MAX} bytes, this one has ${text.length}`;
    throw new AetherError("E_TOO_LARGE", message, { details: { limit: RECORDING_BYTES_MAX, actual: text.length } });
  }
  return /^\s*\{/.test(text) ? fromJson(text) : fromCsv(text);
}

/** The answer of `GET /v1/metrics/history`, with the slices beside it where their blueprints say more than one. */
function fromJson(text: string): Recording {
  const parsed = jsonSchema.safeParse(jsonOf(text));
  if (!parsed.success) {
    throw invalid(plainIssues(parsed.error.issues).map(describeIssue).join("; "));
  }
  const { slices, series } = parsed.data;
  const found = series.flatMap(({ name, points }) => {
    const key = keyOf(name);
    return key === undefined ? [] : [{ key, points }];
  });
  return recordingOf(new Map(Object.entries(slices)), found);
}

/** `seconds,slice,metric,value` with a head line; an empty slice is the cluster. */
function fromCsv(text: string): Recording {
  const points = new Map<string, (readonly [number, number])[]>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#") || (index === 0 && /^seconds\b/.test(line))) continue;
    const [seconds = "", slice = "", metric = "", value = "", ...rest] = line.split(",").map((cell) => cell.trim());
    const place = `line ${index + 1}`;
    if (rest.length > 0 || value === "") throw invalid(`${place}: expected seconds,slice,metric,value`);
    if (!isMetricName(metric)) throw invalid(`${place}: there is no metric "${metric}"`);
    const [atS, amount] = [Number(seconds), Number(value)];
    if (seconds === "" || !Number.isFinite(atS)) throw invalid(`${place}: "${seconds}" is no number of seconds`);
    if (!Number.isFinite(amount)) throw invalid(`${place}: "${value}" is no number`);
    const key = METRICS[metric].scope === "slice" ? `${metric} ${slice}` : metric;
    const known = points.get(key) ?? [];
    known.push([atS * SECOND_MS, amount]);
    points.set(key, known);
  }
  return recordingOf(new Map(), [...points].map(([key, of]) => ({ key, points: of })));
}

function recordingOf(
  slices: ReadonlyMap<string, RecordedSlice>,
  found: readonly { readonly key: string; readonly points: readonly (readonly [number, number])[] }[],
): Recording {
  let [fromMs, untilMs] = [Infinity, -Infinity];
  const all = new Map<string, RecordedSlice>(slices);
  const series = new Map<string, Series>();
  for (const { key, points } of found) {
    const sorted = [...points].sort(([a], [b]) => a - b);
    series.set(key, { atMs: sorted.map(([atMs]) => atMs), values: sorted.map(([, value]) => value) });
    fromMs = Math.min(fromMs, sorted[0]?.[0] ?? Infinity);
    untilMs = Math.max(untilMs, sorted.at(-1)?.[0] ?? -Infinity);
    const [, slice] = key.split(" ");
    if (slice !== undefined && !all.has(slice)) all.set(slice, { instances: 1, minAvailable: 0 });
  }
  for (const slice of all.keys()) {
    const [calls, errors] = [series.get(`calls_per_second ${slice}`), series.get(`errors_per_second ${slice}`)];
    const name = `error_rate ${slice}`;
    if (calls !== undefined && errors !== undefined && !series.has(name)) series.set(name, errorRateOf(calls, errors));
  }
  if (fromMs > untilMs) throw invalid("it has no point of any metric that rules know");
  return { slices: all, series, fromMs, untilMs };
}

/** Whether rules can ask for this series of the history of metrics. */
export function isRecorded(name: string): boolean {
  return historyKeyOf(name) !== undefined;
}

function historyKeyOf(name: string): string | undefined {
  const [scope, slice, ...rest] = name.split("/");
  if (scope !== "slice") return OF_HISTORY.get(name);
  const metric = OF_HISTORY.get(["slice", "%", ...rest].join("/"));
  return metric === undefined || slice === undefined ? undefined : `${metric} ${slice}`;
}

function keyOf(name: string): string | undefined {
  const [own = "", of] = name.split(" ");
  if (isMetricName(own) && (METRICS[own].scope === "cluster") === (of === undefined)) return name;
  return historyKeyOf(name);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(`it is no JSON: ${error instanceof Error ? error.message : "unreadable"}`);
  }
}

function invalid(message: string): AetherError {
  return new AetherError("E_INVALID", `this is no recording: ${message}`);
}
