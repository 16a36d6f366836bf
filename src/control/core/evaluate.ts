// Owns: what an expression comes to at one moment. What is not known makes everything unknown that depends on it, with
// the reason: missing, stale or sparse metrics decide nothing.
import { unreachable } from "../../base/assert.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Aggregate, Arithmetic, Comparison, Expression, Rounding } from "./expression.ts";
import { forecast } from "./forecast.ts";
import { METRICS, type MetricName, type MetricWindow, type Series } from "./metric-window.ts";

/** A metric whose newest point is older says nothing about now. */
export const STALE_MS = 5 * SECOND_MS;
/** A shorter hole in a window is one report that came late or not at all. */
const HOLE_MS_MIN = 5 * SECOND_MS;
/** Work is never divided quite evenly: what instances would share is taken for a little more than an equal part. */
const UNEVEN = 1.05;

/** How many instances a slice is to have, and how many of them serve. */
export interface SliceCounts {
  readonly instances: number;
  readonly active: number;
}

export interface EvaluationInput {
  readonly nowMs: number;
  readonly window: MetricWindow;
  readonly slices: ReadonlyMap<string, SliceCounts>;
  /** Nodes that take instances. */
  readonly nodes: number;
}

/** Asks what would be if a slice had `instances` instances for the same load. */
export interface WhatIf {
  readonly slice: string;
  readonly instances: number;
}

/** Unknown: why. */
export type Value = number | boolean | Unknown;

export interface Unknown {
  readonly unknown: string;
}

/** Evaluates expressions of one moment: what two of them ask alike is worked out once. */
export class Evaluation {
  private readonly input: EvaluationInput;
  private readonly known = new Map<string, number | Unknown>();

  constructor(input: EvaluationInput) {
    this.input = input;
  }

  /** `slice` is what metrics and facts are of that name none. */
  valueOf(expression: Expression, slice: string, whatIf?: WhatIf): Value {
    switch (expression.kind) {
      case "number":
        return expression.value;
      case "fact":
        return this.factOf(expression, slice, whatIf);
      case "aggregate": {
        const of = expression.slice ?? slice;
        const value = this.remembered(`${expression.aggregate} ${expression.metric} ${expression.windowMs} ${of}`, () =>
          this.aggregateOf(expression, of));
        return this.spread(value, expression.metric, of, whatIf);
      }
      case "forecast": {
        const of = expression.slice ?? slice;
        const { metric, horizonMs, seasonMs } = expression;
        const value = this.remembered(`forecast ${metric} ${horizonMs} ${seasonMs} ${of}`, () =>
          this.forecastOf(expression, of));
        return this.spread(value, metric, of, whatIf);
      }
      case "rounding": {
        const value = this.valueOf(expression.of, slice, whatIf);
        return typeof value === "number" ? rounded(expression.rounding, value) : value;
      }
      case "negative": {
        const value = this.valueOf(expression.of, slice, whatIf);
        return typeof value === "number" ? -value : value;
      }
      case "arithmetic": {
        const left = this.valueOf(expression.left, slice, whatIf);
        const right = this.valueOf(expression.right, slice, whatIf);
        if (typeof left !== "number" || typeof right !== "number") return firstUnknown(left, right);
        return calculated(expression.op, left, right);
      }
      case "comparison": {
        const left = this.valueOf(expression.left, slice, whatIf);
        const right = this.valueOf(expression.right, slice, whatIf);
        if (typeof left !== "number" || typeof right !== "number") return firstUnknown(left, right);
        return compared(expression.op, left, right);
      }
      case "and":
      case "or":
        return this.joined(expression, slice, whatIf);
      case "not": {
        const value = this.valueOf(expression.of, slice, whatIf);
        return typeof value === "boolean" ? !value : value;
      }
      default:
        return unreachable(expression);
    }
  }

  /** Known as soon as one side says it: `true or unknown` is true. */
  private joined(
    { kind, left, right }: Extract<Expression, { kind: "and" | "or" }>, slice: string, whatIf: WhatIf | undefined,
  ): Value {
    const deciding = kind === "or";
    const a = this.valueOf(left, slice, whatIf);
    if (a === deciding) return deciding;
    const b = this.valueOf(right, slice, whatIf);
    if (b === deciding) return deciding;
    return typeof a === "boolean" && typeof b === "boolean" ? !deciding : firstUnknown(a, b);
  }

  private factOf({ fact, slice }: Extract<Expression, { kind: "fact" }>, own: string, whatIf?: WhatIf): Value {
    if (fact === "nodes") return this.input.nodes;
    const name = slice ?? own;
    if (whatIf?.slice === name) return whatIf.instances;
    const counts = this.input.slices.get(name);
    return counts === undefined ? { unknown: `no blueprint has the slice ${name}` } : counts[fact];
  }

  /** Of a load that is divided among instances each has less when there are more. */
  private spread(value: number | Unknown, metric: MetricName, slice: string, whatIf: WhatIf | undefined): Value {
    if (typeof value !== "number" || whatIf?.slice !== slice || METRICS[metric].spread === "same") return value;
    const now = this.input.slices.get(slice)?.active ?? 0;
    return whatIf.instances === 0 ? { unknown: `no instance of ${slice}` } : (value * now * UNEVEN) / whatIf.instances;
  }

  private remembered(key: string, workOut: () => number | Unknown): number | Unknown {
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const value = workOut();
    this.known.set(key, value);
    return value;
  }

  private aggregateOf(
    { aggregate, metric, windowMs }: Extract<Expression, { kind: "aggregate" }>, slice: string,
  ): number | Unknown {
    const series = this.freshSeries(metric, slice);
    if ("unknown" in series) return series;
    const { values, atMs } = series;
    if (aggregate === "last") return finite(values.at(-1) ?? Number.NaN, metric);
    const fromMs = this.input.nowMs - windowMs;
    const first = firstAfter(atMs, fromMs);
    const hole = holeIn(atMs, first, { fromMs, nowMs: this.input.nowMs, windowMs });
    if (hole !== undefined) return { unknown: `${metric} of ${slice || "the cluster"} ${hole}` };
    return finite(aggregated(aggregate, values, first), metric);
  }

  private forecastOf(
    { metric, horizonMs, seasonMs }: Extract<Expression, { kind: "forecast" }>, slice: string,
  ): number | Unknown {
    const series = this.freshSeries(metric, slice);
    if ("unknown" in series) return series;
    const made = forecast(series, { nowMs: this.input.nowMs, horizonMs, seasonMs });
    if (made.kind === "forecast") return finite(made.value, metric);
    return { unknown: `${metric} of ${slice || "the cluster"}: ${made.reason}` };
  }

  private freshSeries(metric: MetricName, slice: string): Series | Unknown {
    const subject = METRICS[metric].scope === "slice" ? slice : "";
    const series = this.input.window.series(metric, subject);
    const newestMs = series?.atMs.at(-1);
    const of = subject === "" ? "the cluster" : subject;
    if (series === undefined || newestMs === undefined) return { unknown: `there is no ${metric} of ${of}` };
    const ageMs = this.input.nowMs - newestMs;
    if (ageMs <= STALE_MS) return series;
    return { unknown: `${metric} of ${of} is stale: its newest point is ${Math.round(ageMs / SECOND_MS)} s old` };
  }
}

export function isUnknown(value: Value): value is Unknown {
  return typeof value === "object";
}

function firstUnknown(left: Value, right: Value): Unknown {
  if (isUnknown(left)) return left;
  return isUnknown(right) ? right : { unknown: "its parts do not fit" };
}

function finite(value: number, what: string): number | Unknown {
  return Number.isFinite(value) ? value : { unknown: `${what} is not a number` };
}

/** Index of the first point that is not before `fromMs`. */
function firstAfter(atMs: readonly number[], fromMs: number): number {
  let low = 0;
  let high = atMs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((atMs[middle] ?? 0) < fromMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Why the points do not say enough about the window; half of it may be before the first of them. */
function holeIn(
  atMs: readonly number[],
  first: number,
  { fromMs, nowMs, windowMs }: { readonly fromMs: number; readonly nowMs: number; readonly windowMs: number },
): string | undefined {
  const startMs = atMs[first];
  if (startMs === undefined || startMs - fromMs > Math.max(windowMs / 2, 2 * SECOND_MS)) {
    const has = startMs === undefined ? 0 : Math.round((nowMs - startMs) / SECOND_MS);
    return `is known for ${has} s of the ${windowMs / SECOND_MS} s that were asked for`;
  }
  const holeMs = Math.max(HOLE_MS_MIN, windowMs / 4);
  for (let index = first + 1; index < atMs.length; index++) {
    const gapMs = (atMs[index] ?? 0) - (atMs[index - 1] ?? 0);
    if (gapMs > holeMs) return `has a hole of ${Math.round(gapMs / SECOND_MS)} s`;
  }
  return undefined;
}

const PERCENTILES: Readonly<Record<"p50" | "p95" | "p99", number>> = { p50: 0.5, p95: 0.95, p99: 0.99 };

function aggregated(aggregate: Exclude<Aggregate, "last">, values: readonly number[], first: number): number {
  switch (aggregate) {
    case "avg": {
      let sum = 0;
      for (let index = first; index < values.length; index++) sum += values[index] ?? 0;
      return sum / (values.length - first);
    }
    case "min":
    case "max": {
      let found = values[first] ?? Number.NaN;
      for (let index = first + 1; index < values.length; index++) {
        const value = values[index] ?? Number.NaN;
        if (aggregate === "min" ? value < found : value > found) found = value;
      }
      return found;
    }
    case "p50":
    case "p95":
    case "p99": {
      const sorted = values.slice(first).sort((a, b) => a - b);
      return sorted[Math.max(0, Math.ceil(sorted.length * PERCENTILES[aggregate]) - 1)] ?? Number.NaN;
    }
    default:
      return unreachable(aggregate);
  }
}

function rounded(rounding: Rounding, value: number): number {
  switch (rounding) {
    case "ceil":
      return Math.ceil(value);
    case "floor":
      return Math.floor(value);
    case "round":
      return Math.round(value);
    case "abs":
      return Math.abs(value);
    default:
      return unreachable(rounding);
  }
}

function calculated(op: Arithmetic, left: number, right: number): Value {
  switch (op) {
    case "+":
      return finite(left + right, "the sum");
    case "-":
      return finite(left - right, "the difference");
    case "*":
      return finite(left * right, "the product");
    case "/":
      return right === 0 ? { unknown: "it would be divided by zero" } : finite(left / right, "the quotient");
    default:
      return unreachable(op);
  }
}

function compared(op: Comparison, left: number, right: number): boolean {
  switch (op) {
    case "<":
      return left < right;
    case "<=":
      return left <= right;
    case ">":
      return left > right;
    case ">=":
      return left >= right;
    case "==":
      return left === right;
    case "!=":
      return left !== right;
    default:
      return unreachable(op);
  }
}
