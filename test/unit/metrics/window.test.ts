import { describe, expect, test } from "vitest";
import {
  COARSE_MS, FINE_MS, METHOD_SERIES_MAX, NODE_SERIES_MAX, SERIES_MAX, Window, WINDOW_MS,
} from "../../../src/metrics/core/window.ts";

const isPeak = (series: string): boolean => series === "peak";
const one = (name: string, value: number): ReadonlyMap<string, number> => new Map([[name, value]]);

/** A window with a value per second, the number of the second, up to `seconds`. */
function filled(name: string, seconds: number): Window {
  const window = new Window(isPeak);
  for (let second = 0; second <= seconds; second++) window.put(one(name, second), second * 1_000);
  return window;
}

describe("the window of series", () => {
  test("has every second of the last ten minutes", () => {
    const window = filled("x", 1_000);
    const points = window.points("x", 60_000, 1_000_000);
    expect(points.map(({ value }) => value)).toEqual(Array.from({ length: 61 }, (_, at) => 940 + at));
    expect(points[0]?.atMs).toBe(940_000);
  });

  test("has a mean, or where peaks matter the highest value, per ten seconds before that", () => {
    const nowMs = 3_000_000;
    const means = filled("x", 3_000).points("x", nowMs, nowMs);
    const peaks = filled("peak", 3_000).points("peak", nowMs, nowMs);
    expect(means[0]).toEqual({ atMs: 0, value: 4.5 });
    expect(means[1]).toEqual({ atMs: COARSE_MS, value: 14.5 });
    expect(peaks[1]).toEqual({ atMs: COARSE_MS, value: 19 });
    // Neither a hole nor a second that is told twice where the two parts meet.
    const gaps = means.slice(1).map(({ atMs }, at) => atMs - (means[at]?.atMs ?? 0));
    const coarse = gaps.filter((gap) => gap === COARSE_MS).length;
    expect(gaps.every((gap) => gap === COARSE_MS || gap === 1_000)).toBe(true);
    expect(gaps.indexOf(1_000)).toBe(coarse);
    expect(gaps.length - coarse).toBeGreaterThan((FINE_MS - 2 * COARSE_MS) / 1_000);
  });

  test("keeps two hours and no more", () => {
    const seconds = (WINDOW_MS * 1.5) / 1_000;
    const window = filled("x", seconds);
    const points = window.points("x", 10 * WINDOW_MS, seconds * 1_000);
    expect(points[0]?.atMs).toBeGreaterThanOrEqual(seconds * 1_000 - WINDOW_MS);
    expect(points[0]?.atMs).toBeLessThanOrEqual(seconds * 1_000 - WINDOW_MS + 2 * COARSE_MS);
  });

  test("has no holes and no doubles when values come a little early or late", () => {
    const window = new Window(isPeak);
    const late = [0, 480, -480, 300, -300, 499];
    for (let second = 0; second < 120; second++) {
      window.put(one("x", second), 700 + second * 1_000 + (late[second % 6] ?? 0));
    }
    const values = window.points("x", 200_000, 121_000).map(({ value }) => value);
    expect(values).toEqual(Array.from({ length: 120 }, (_, at) => at));
  });

  test("has a hole where nothing came, and nothing at all after a day without values", () => {
    const window = filled("x", 10);
    window.put(one("x", 99), 60_000);
    expect(window.points("x", 60_000, 60_000).map(({ atMs }) => atMs)).toEqual(
      [...Array.from({ length: 11 }, (_, at) => at * 1_000), 60_000],
    );
    window.put(one("y", 1), 90_000_000);
    expect(window.names).toEqual(["y"]);
  });

  test("does not run ahead of the clock when many values come at once", () => {
    const window = filled("x", 10);
    for (let count = 0; count < 50; count++) window.put(one("x", 1_000 + count), 10_500);
    const last = window.points("x", 60_000, 10_500).at(-1);
    expect(last?.value).toBe(1_049);
    expect(last?.atMs).toBeLessThanOrEqual(12_000);
  });

  test("takes no more series than its memory is planned for, until others have been silent for two hours (M2)", () => {
    const window = new Window(isPeak);
    const names = Array.from({ length: SERIES_MAX + 10 }, (_, at) => `s${at}`);
    window.put(new Map(names.map((name) => [name, 1])), 0);
    expect(window.names).toHaveLength(SERIES_MAX);
    const { bytes } = window;
    expect(bytes).toBe(SERIES_MAX * (FINE_MS / 1_000 + WINDOW_MS / COARSE_MS) * 4);
    for (let second = 1; second <= WINDOW_MS / 1_000 + 20; second++) window.put(one("s0", second), second * 1_000);
    expect(window.names).toEqual(["s0"]);
    window.put(one("new", 1), WINDOW_MS + 21_000);
    expect(window.names).toEqual(["new", "s0"]);
  });

  test("has room for the series of a new slice, however many nodes and methods there are (M6)", () => {
    const window = new Window(isPeak);
    const many = Array.from({ length: 2 * SERIES_MAX }, (_, at) =>
      [`node/n${at}/cpuCores`, `method/s/m${at}/made/p99Ms`]);
    const values = new Map(many.flat().map((name) => [name, 1]));
    window.put(values, 0);
    expect(window.names.filter((name) => name.startsWith("node/"))).toHaveLength(NODE_SERIES_MAX);
    expect(window.names.filter((name) => name.startsWith("method/"))).toHaveLength(METHOD_SERIES_MAX);
    window.put(new Map([...values, ["slice/new/queued", 5]]), 1_000);
    expect(window.points("slice/new/queued", 5_000, 1_000)).toEqual([{ atMs: 1_000, value: 5 }]);
    // Whose place is free again takes it.
    window.put(new Map(), WINDOW_MS * 3);
    window.put(new Map([["node/n9999/cpuCores", 1]]), WINDOW_MS * 3 + 1_000);
    expect(window.names).toEqual(["node/n9999/cpuCores"]);
  });
});
