import { expect, test } from "vitest";
import { LineBudget } from "../../../src/slices/core/line-budget.ts";

test("lines beyond the budget of a second are left out and counted, and the next second has its own", () => {
  const budget = new LineBudget(2);
  expect([0, 1, 2, 999].map((nowMs) => budget.take(nowMs))).toEqual([true, true, false, false]);
  expect(budget.take(1_000)).toBe(true);
  expect(budget.takeLeftOut()).toBe(2);
  expect(budget.takeLeftOut()).toBe(0);
});

test("several lines at once count as many", () => {
  const budget = new LineBudget(3);
  expect([budget.take(0, 2), budget.take(0, 2), budget.take(0, 5)]).toEqual([true, true, false]);
  expect(budget.takeLeftOut()).toBe(5);
});
