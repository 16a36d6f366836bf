// Owns: a forecast by the method of Holt and Winters: level and damped trend, and, where one is given, a season.
// Does not own: when nobody knows enough for one; then there is none, and it says why.
//
// Points are put into steps of equal length first, each the mean of its points. A gap of few steps is filled in a
// straight line; behind a longer one the fit begins anew, because a line through it would be made up.
import { SECOND_MS } from "../../base/units.ts";
import type { Series } from "./metric-window.ts";

export const FORECAST = {
  stepMs: 5 * SECOND_MS,
  /** How fast the level, the trend and the season follow; what is usual for loads of some minutes. */
  alpha: 0.4,
  beta: 0.1,
  gamma: 0.2,
  /** Part of the trend that is left after each step ahead: no growth goes on for ever. */
  damping: 0.98,
  /** Steps without points that are filled in a line. */
  gapStepsMax: 3,
  /** Steps that there have to be without a season: a minute. */
  stepsMin: 12,
  /** Newest steps that are looked at. */
  stepsMax: 1_440,
} as const;

export type Forecast =
  | { readonly kind: "forecast"; readonly value: number }
  | { readonly kind: "unknown"; readonly reason: string };

export interface ForecastQuestion {
  readonly nowMs: number;
  readonly horizonMs: number;
  readonly seasonMs: number | undefined;
}

/** What a metric that is never below zero is likely to be at `nowMs + horizonMs`. */
export function forecast(series: Series, { nowMs, horizonMs, seasonMs }: ForecastQuestion): Forecast {
  const steps = stepsOf(series, nowMs);
  const season = seasonMs === undefined ? 0 : Math.max(2, Math.round(seasonMs / FORECAST.stepMs));
  const needed = Math.max(FORECAST.stepsMin, 2 * season);
  if (steps.length < needed) {
    const has = Math.round((steps.length * FORECAST.stepMs) / SECOND_MS);
    const wanted = (needed * FORECAST.stepMs) / SECOND_MS;
    const reason = `a forecast needs ${wanted} s without a long gap, there are ${has} s`;
    return { kind: "unknown", reason };
  }
  const ahead = Math.max(1, Math.round(horizonMs / FORECAST.stepMs));
  const value = season === 0 ? withoutSeason(steps, ahead) : withSeason(steps, season, ahead);
  return { kind: "forecast", value: Math.max(0, value) };
}

/** The newest unbroken run of steps up to now. */
function stepsOf({ atMs, values }: Series, nowMs: number): readonly number[] {
  const { stepMs, stepsMax, gapStepsMax } = FORECAST;
  const sums = new Float64Array(stepsMax);
  const counts = new Uint32Array(stepsMax);
  for (let index = atMs.length - 1; index >= 0; index--) {
    const age = nowMs - (atMs[index] ?? 0);
    const step = stepsMax - 1 - Math.floor(age / stepMs);
    if (step < 0) break;
    if (step >= stepsMax) continue;
    sums[step] = (sums[step] ?? 0) + (values[index] ?? 0);
    counts[step] = (counts[step] ?? 0) + 1;
  }
  const newestFirst: number[] = [];
  let gap = 0;
  for (let step = stepsMax - 1; step >= 0 && gap <= gapStepsMax; step--) {
    const count = counts[step] ?? 0;
    if (count === 0) {
      gap++;
      continue;
    }
    const mean = (sums[step] ?? 0) / count;
    const after = newestFirst.at(-1);
    // The steps of the gap, newest first. A gap at the end has nothing after it: the last value holds.
    for (let at = 1; at <= gap; at++) {
      newestFirst.push(after === undefined ? mean : after + ((mean - after) * at) / (gap + 1));
    }
    newestFirst.push(mean);
    gap = 0;
  }
  return newestFirst.reverse();
}

function withoutSeason(steps: readonly number[], ahead: number): number {
  const { alpha, beta } = FORECAST;
  let level = steps[0] ?? 0;
  let trend = 0;
  for (const value of steps.slice(1)) [level, trend] = followed(value, { level, trend, alpha, beta });
  return level + trend * dampedSum(ahead);
}

function withSeason(steps: readonly number[], season: number, ahead: number): number {
  const { alpha, beta, gamma } = FORECAST;
  const mean = meanOf(steps.slice(0, season));
  const offsets = steps.slice(0, season).map((value) => value - mean);
  let level = mean;
  let trend = (meanOf(steps.slice(season, 2 * season)) - mean) / season;
  for (let index = season; index < steps.length; index++) {
    const value = steps[index] ?? 0;
    const offset = offsets[index % season] ?? 0;
    [level, trend] = followed(value - offset, { level, trend, alpha, beta });
    offsets[index % season] = gamma * (value - level) + (1 - gamma) * offset;
  }
  const offset = offsets[(steps.length - 1 + ahead) % season] ?? 0;
  return level + trend * dampedSum(ahead) + offset;
}

interface Fit {
  readonly level: number;
  readonly trend: number;
  readonly alpha: number;
  readonly beta: number;
}

function followed(value: number, { level, trend, alpha, beta }: Fit): readonly [level: number, trend: number] {
  const damped = trend * FORECAST.damping;
  const next = alpha * value + (1 - alpha) * (level + damped);
  return [next, beta * (next - level) + (1 - beta) * damped];
}

/** damping + damping² + … over so many steps. */
function dampedSum(steps: number): number {
  const { damping } = FORECAST;
  return (damping * (1 - damping ** steps)) / (1 - damping);
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
