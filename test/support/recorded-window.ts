// Owns: a window of metrics made of given points, for tests of what reads one.
import { isMetricName, type MetricName, type MetricWindow, type Series } from "../../src/control/core/metric-window.ts";

/** `"calls_per_second orders"`: one value per second up to `untilMs`; undefined is a second without a point. */
export type Recording = Readonly<Record<string, readonly (number | undefined)[]>>;

export function windowOf(recording: Recording, untilMs: number): MetricWindow {
  const all = new Map(Object.entries(recording).map(([name, values]) => [name, seriesOf(values, untilMs)]));
  return { series: (metric, slice) => all.get(slice === "" ? metric : `${metric} ${slice}`) };
}

/** The same value for so many seconds. */
export function steady(value: number, seconds: number): readonly number[] {
  return Array.from({ length: seconds }, () => value);
}

export function metricOf(name: string): MetricName {
  if (isMetricName(name)) return name;
  throw new RangeError(`no metric ${name}`);
}

function seriesOf(values: readonly (number | undefined)[], untilMs: number): Series {
  const points = values.flatMap((value, index) =>
    value === undefined ? [] : [{ atMs: untilMs - (values.length - 1 - index) * 1_000, value }]);
  return { atMs: points.map(({ atMs }) => atMs), values: points.map(({ value }) => value) };
}
