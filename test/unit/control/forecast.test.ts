import { describe, expect, test } from "vitest";
import { forecast, FORECAST } from "../../../src/control/core/forecast.ts";
import type { Series } from "../../../src/control/core/metric-window.ts";

const NOW = 10_000_000;

/** A value per second up to now. */
function series(valueAt: (second: number) => number | undefined, seconds: number): Series {
  const places = Array.from({ length: seconds }, (_, at) => ({ atMs: NOW - (seconds - 1 - at) * 1_000, at }));
  const points = places.map(({ atMs, at }) => ({ atMs, value: valueAt(at) }))
    .flatMap(({ atMs, value }) => (value === undefined ? [] : [{ atMs, value }]));
  return { atMs: points.map(({ atMs }) => atMs), values: points.map(({ value }) => value) };
}

function ahead(of: Series, horizonMs: number, seasonMs?: number): number {
  const made = forecast(of, { nowMs: NOW, horizonMs, seasonMs });
  if (made.kind === "forecast") return made.value;
  throw new RangeError(made.reason);
}

function reasonOf(of: Series, seasonMs?: number): string {
  const made = forecast(of, { nowMs: NOW, horizonMs: 60_000, seasonMs });
  return made.kind === "unknown" ? made.reason : `forecast ${made.value}`;
}

describe("a forecast", () => {
  test("of a steady load is that load", () => {
    expect(ahead(series(() => 80, 600), 60_000)).toBeCloseTo(80, 6);
  });

  test("of a load that grows sees most of the growth coming, and no more", () => {
    const growing = ahead(series((second) => 100 + second, 300), 60_000);
    expect(growing).toBeGreaterThan(430);
    expect(growing).toBeLessThan(470);
  });

  test("of a load that falls does not go below zero", () => {
    expect(ahead(series((second) => Math.max(0, 300 - second), 300), 600_000)).toBe(0);
  });

  test("with a season sees the peak that comes again", () => {
    const periodS = 300;
    const wave = (second: number): number => 100 + 80 * Math.sin((2 * Math.PI * second) / periodS);
    const seconds = 4 * periodS;
    // A quarter of a period on from the end of the fourth is the peak.
    expect(ahead(series(wave, seconds), (periodS / 4) * 1_000, periodS * 1_000)).toBeGreaterThan(165);
    expect(ahead(series(wave, seconds), (3 * periodS / 4) * 1_000, periodS * 1_000)).toBeLessThan(35);
  });

  test("fills a short gap, and begins anew behind a long one", () => {
    const short = series((second) => (second > 100 && second < 112 ? undefined : 50), 300);
    expect(ahead(short, 60_000)).toBeCloseTo(50, 6);
    const long = series((second) => (second < 200 ? 1_000 : second < 240 ? undefined : 50), 320);
    expect(ahead(long, 60_000)).toBeCloseTo(50, 6);
  });

  test("is not made from less than a minute, or less than two seasons", () => {
    expect(reasonOf(series(() => 1, 30))).toBe("a forecast needs 60 s without a long gap, there are 30 s");
    expect(reasonOf(series(() => 1, 500), 300_000)).toBe("a forecast needs 600 s without a long gap, there are 500 s");
    expect(reasonOf({ atMs: [], values: [] })).toBe("a forecast needs 60 s without a long gap, there are 0 s");
  });

  test("looks at two hours and no more", () => {
    expect(FORECAST.stepsMax * FORECAST.stepMs).toBe(7_200_000);
  });
});
