// Owns: the form of a checked expression. Does not own: reading one from text, or what it comes to.
import { unreachable } from "../../base/assert.ts";
import type { MetricName } from "./metric-window.ts";

export type ValueType = "number" | "boolean";

/** The newest point; of the points of a window the mean, the least, the most, the sum of changes, a percentile. */
export const AGGREGATES = ["last", "avg", "min", "max", "p50", "p95", "p99"] as const;
export type Aggregate = (typeof AGGREGATES)[number];

/** Facts that are known without a window: what a slice is to have, what serves of it, nodes that take instances. */
export const FACTS = ["instances", "active", "nodes"] as const;
export type Fact = (typeof FACTS)[number];

export const ROUNDINGS = ["ceil", "floor", "round", "abs"] as const;
export type Rounding = (typeof ROUNDINGS)[number];

export type Comparison = "<" | "<=" | ">" | ">=" | "==" | "!=";
export type Arithmetic = "+" | "-" | "*" | "/";

/** Which slice a metric or fact is of; undefined: that of the rule. */
export type Subject = string | undefined;

export type Expression =
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "fact"; readonly fact: Fact; readonly slice: Subject }
  | {
      readonly kind: "aggregate";
      readonly aggregate: Aggregate;
      readonly metric: MetricName;
      readonly slice: Subject;
      readonly windowMs: number;
    }
  | {
      readonly kind: "forecast";
      readonly metric: MetricName;
      readonly slice: Subject;
      readonly horizonMs: number;
      /** Undefined: without a season. */
      readonly seasonMs: number | undefined;
    }
  | { readonly kind: "rounding"; readonly rounding: Rounding; readonly of: Expression }
  | { readonly kind: "negative"; readonly of: Expression }
  | { readonly kind: "arithmetic"; readonly op: Arithmetic; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "comparison"; readonly op: Comparison; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "not"; readonly of: Expression };

export function typeOf(expression: Expression): ValueType {
  switch (expression.kind) {
    case "comparison":
    case "and":
    case "or":
    case "not":
      return "boolean";
    case "number":
    case "fact":
    case "aggregate":
    case "forecast":
    case "rounding":
    case "negative":
    case "arithmetic":
      return "number";
    default:
      return unreachable(expression);
  }
}

/** The most that any aggregate or forecast in it comes to, and 0 without any. */
export function mostOf(
  expression: Expression,
  msOf: (leaf: Extract<Expression, { readonly kind: "aggregate" | "forecast" }>) => number,
): number {
  switch (expression.kind) {
    case "aggregate":
    case "forecast":
      return msOf(expression);
    case "rounding":
    case "negative":
    case "not":
      return mostOf(expression.of, msOf);
    case "arithmetic":
    case "comparison":
    case "and":
    case "or":
      return Math.max(mostOf(expression.left, msOf), mostOf(expression.right, msOf));
    case "number":
    case "fact":
      return 0;
    default:
      return unreachable(expression);
  }
}
