// Owns: the window that rules ask, made of the series that this node keeps. One of these serves one round: a series
// that several rules look at is read once.
import type { Clock } from "../env/clock.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import { errorRateOf, HISTORY_NAMES, type MetricName, type MetricWindow, type Series } from "./core/metric-window.ts";

type SeriesSource = Pick<ClusterMetrics, "history">;

export class KeptWindow implements MetricWindow {
  private readonly source: SeriesSource;
  private readonly lookbackMs: number;
  /** Of the wall clock, by which the source tells times. */
  private readonly offsetMs: number;
  private readonly read = new Map<string, Series | undefined>();

  constructor(
    source: SeriesSource, of: { readonly lookbackMs: number; readonly clock: Pick<Clock, "nowMs" | "wallMs"> },
  ) {
    this.source = source;
    this.lookbackMs = of.lookbackMs;
    this.offsetMs = of.clock.wallMs() - of.clock.nowMs();
  }

  series(metric: MetricName, slice: string): Series | undefined {
    if (metric === "error_rate") return this.errorRate(slice);
    const name = HISTORY_NAMES[metric].replace("%", () => slice);
    if (!this.read.has(name)) this.read.set(name, this.load(name));
    return this.read.get(name);
  }

  private load(name: string): Series | undefined {
    const points = this.source.history(name, this.lookbackMs);
    if (points.length === 0) return undefined;
    return { atMs: points.map(({ atMs }) => atMs - this.offsetMs), values: points.map(({ value }) => value) };
  }

  private errorRate(slice: string): Series | undefined {
    const calls = this.series("calls_per_second", slice);
    const errors = this.series("errors_per_second", slice);
    return calls === undefined || errors === undefined ? undefined : errorRateOf(calls, errors);
  }
}
