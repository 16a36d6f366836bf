import { describe, expect, test } from "vitest";
import { Evaluation, isUnknown, type Value } from "../../../src/control/core/evaluate.ts";
import {
  EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_PARTS_MAX, parseExpression,
} from "../../../src/control/core/parse-expression.ts";
import { steady, windowOf, type Recording } from "../../support/recorded-window.ts";

const NOW = 1_000_000;
const NUMBER = { wanted: "number", windowMs: 30_000 } as const;
const CONDITION = { wanted: "boolean", windowMs: 30_000 } as const;

function errorOf(text: string, rules: typeof NUMBER | typeof CONDITION = CONDITION): string {
  const read = parseExpression(text, rules);
  return read.kind === "error" ? `${read.error.at}: ${read.error.message}` : "no error";
}

function valueOf(text: string, recording: Recording, rules: typeof NUMBER | typeof CONDITION = NUMBER): Value {
  const read = parseExpression(text, rules);
  if (read.kind === "error") throw new RangeError(read.error.message);
  const slices = new Map([["orders", { instances: 4, active: 3 }], ["pricing", { instances: 1, active: 1 }]]);
  const evaluation = new Evaluation({ nowMs: NOW, window: windowOf(recording, NOW), slices, nodes: 3 });
  return evaluation.valueOf(read.expression, "orders");
}

function nothing(seconds: number): readonly undefined[] {
  return Array.from({ length: seconds }, () => undefined);
}

function reasonOf(value: Value): string {
  return isUnknown(value) ? value.unknown : `known: ${value}`;
}

describe("what an expression comes to", () => {
  test.each([
    ["1 + 2 * 3", 7],
    ["(1 + 2) * 3", 9],
    ["10 - 4 - 3", 3],
    ["-2 * -3", 6],
    ["7 / 2", 3.5],
    ["ceil(7 / 2)", 4],
    ["floor(7 / 2) + round(2.4) + abs(-1)", 6],
    ["instances", 4],
    ["instances(pricing)", 1],
    ['active{slice="orders"}', 3],
    ["nodes", 3],
  ])("%s is %d", (text, value) => {
    expect(valueOf(text, {})).toBe(value);
  });

  test.each([
    ["1 < 2 and 2 < 1", false],
    ["1 < 2 or 2 < 1", true],
    ["not 1 < 2", false],
    ["not (1 > 2) and 1 != 2", true],
    ["2 >= 2 and 2 <= 2 and 2 == 2", true],
    ["1 > 2 and 1 > 2 or 1 < 2", true],
  ])("%s is %s", (text, value) => {
    expect(valueOf(text, {}, CONDITION)).toBe(value);
  });

  const calls = { "calls_per_second orders": [...steady(10, 30), 20, 30, 40, 50] };

  test.each([
    ["calls_per_second", 50],
    ["last(calls_per_second)", 50],
    ["avg(calls_per_second, 3s)", 35],
    ["max(calls_per_second(orders), 1min)", 50],
    ['min(calls_per_second{slice="orders"})', 10],
    ["p50(calls_per_second, 20s)", 10],
    ["p99(calls_per_second, 20s)", 50],
    ["calls_per_second / instances", 12.5],
  ])("%s looks at the window", (text, value) => {
    expect(valueOf(text, calls)).toBe(value);
  });

  test.each([
    ["nothing is known of the slice", "avg(calls_per_second(pricing))", {}, "there is no calls_per_second of pricing"],
    ["no blueprint has the slice", "instances(carts)", {}, "no blueprint has the slice carts"],
    ["it divides by zero", "calls_per_second / 0", calls, "it would be divided by zero"],
    [
      "the newest point is old", "calls_per_second",
      { "calls_per_second orders": [...steady(1, 30), ...nothing(9)] },
      "calls_per_second of orders is stale: its newest point is 9 s old",
    ],
    [
      "the window is hardly covered", "avg(calls_per_second, 1min)", { "calls_per_second orders": steady(1, 20) },
      "calls_per_second of orders is known for 19 s of the 60 s that were asked for",
    ],
    [
      "there is a hole", "avg(calls_per_second, 40s)",
      { "calls_per_second orders": [...steady(1, 20), ...nothing(15), ...steady(1, 5)] },
      "calls_per_second of orders has a hole of 16 s",
    ],
  ])("is unknown, with the reason, when %s", (_when, text, recording, reason) => {
    expect(reasonOf(valueOf(text, recording))).toBe(reason);
  });

  test("what is not known matters only where the answer depends on it", () => {
    expect(valueOf("1 < 2 or calls_per_second > 5", {}, CONDITION)).toBe(true);
    expect(valueOf("calls_per_second > 5 and 2 < 1", {}, CONDITION)).toBe(false);
    expect(isUnknown(valueOf("calls_per_second > 5 and 1 < 2", {}, CONDITION))).toBe(true);
    expect(isUnknown(valueOf("not calls_per_second > 5", {}, CONDITION))).toBe(true);
  });
});

describe("what is wrong with an expression is said with its place", () => {
  test.each([
    ["calls_per_secnd > 5", "0: there is no metric or function \"calls_per_secnd\""],
    ["avg(calls_per_second, 30) > 5", "22: expected the window as a time such as 30s, found \"30\""],
    ["avg(calls_per_second, 3h) > 5", "22: the window is 2s to 120min, not 3h"],
    ["avg(5) > 5", "4: expected a metric, found \"5\""],
    ["calls_per_second >", "18: expected a number, a metric, a function or \"(\", found the end"],
    ["calls_per_second > 5 5", "21: expected an operator or the end, found \"5\""],
    ["calls_per_second", "0: expected a comparison, such as a > 5, found a number"],
    ["calls_per_second and 1 > 2", "0: expected a comparison, such as a > 5, found a number"],
    ["1 < 2 < 3", "6: compare two values at a time and join them with \"and\""],
    ["(1 > 2", "6: expected \")\", found the end"],
    ["1 > $", "4: expected a number, a name or an operator, found \"$\""],
    ["nodes(orders) > 1", "5: this is of the whole cluster: leave the slice away"],
    ["cluster_cpu{slice=\"orders\"} > 1", "11: this is of the whole cluster: leave the slice away"],
    ["calls_per_second{node=\"n1\"} > 1", "17: expected the label slice, found \"node\""],
    ["30s > 1", "0: 30s is a time, which stands only as the second part of a function"],
    ["", "0: expected a number, a metric, a function or \"(\", found the end"],
  ])("%s", (text, error) => {
    expect(errorOf(text)).toContain(error);
  });

  test("a condition is no number", () => {
    expect(errorOf("1 > 2", NUMBER)).toBe("0: expected a number, found a comparison");
  });

  test("length, nesting and parts are bounded", () => {
    expect(errorOf(`1 > ${" ".repeat(EXPRESSION_CHARS_MAX)}`)).toContain("at most 1000 characters");
    const deep = EXPRESSION_DEPTH_MAX + 1;
    expect(errorOf(`${"(".repeat(deep)}1${")".repeat(deep)} > 1`)).toContain("nested more than 32 deep");
    expect(errorOf(`${"not ".repeat(deep)}1 > 2`)).toContain("nested more than 32 deep");
    expect(errorOf(`${"1+".repeat(EXPRESSION_PARTS_MAX)}1 > 2`)).toContain("more than 100 metrics");
  });
});
