import { describe, expect, test } from "vitest";
import { alignSeries } from "../../../src/dashboard/core/align-series.ts";
import { HEAT_ROWS, heatColumn, heatOf, heatRow, heatRowMs } from "../../../src/dashboard/core/heat.ts";

describe("a heat map of durations", () => {
  test("has a row for each doubling, and everything finds one", () => {
    for (let row = 1; row < HEAT_ROWS; row++) expect(heatRow(heatRowMs(row))).toBe(row);
    expect([0, -1, NaN, 1e12].map(heatRow)).toEqual([0, 0, 0, HEAT_ROWS - 1]);
  });

  test("adds up the calls of all methods in a second", () => {
    const method = { slice: "a", method: "b", direction: "handled", callsPerSecond: 0, errorsPerSecond: 0, p50Ms: null,
      p95Ms: null, p99Ms: null } as const;
    const column = heatColumn([{ ...method, durations: [[1, 3]] }, { ...method, durations: [[1, 2], [50, 1]] }]);
    expect([column[heatRow(1)], column[heatRow(50)], column.reduce((sum, count) => sum + count)]).toEqual([5, 1, 6]);
  });

  test("shows one call beside ten thousand", () => {
    expect([heatOf(0, 10_000), heatOf(10_000, 10_000)]).toEqual([0, 1]);
    expect(heatOf(1, 10_000)).toBeGreaterThan(0.1);
  });
});

test("series with points of their own are drawn over one time, with holes where one has none", () => {
  expect(alignSeries([[[1_000, 1], [2_100, 2]], [[1_990, 5]], []], 10)).toEqual([[1, 2], [10, 20], [null, 50],
    [null, null]]);
});
