// Owns: what this node keeps of the metrics of the cluster: the newest snapshot and the window.
import type { Clock } from "../env/clock.ts";
import type { ClusterMetrics, KeptSnapshot, Reduction } from "./cluster-metrics.ts";
import { type Stall, stallsOf } from "./core/progress-watch.ts";
import type { NodeReport } from "./core/report.ts";
import { clusterFacts, isPeakSeries, seriesOf } from "./core/series.ts";
import { type ClusterSnapshot, STALE_MS } from "./core/snapshot.ts";
import { type Point, Window } from "./core/window.ts";

type StallListener = Parameters<ClusterMetrics["onStall"]>[0];

export class MetricsStore implements ClusterMetrics {
  private readonly clock: Pick<Clock, "nowMs" | "wallMs">;
  private readonly window = new Window(isPeakSeries);
  private readonly listeners = new Set<() => void>();
  private kept: { readonly snapshot: ClusterSnapshot; readonly atMs: number } | undefined;
  private ownReport: NodeReport | undefined;
  private standing: readonly Stall[] = [];
  private readonly stallListeners: StallListener[] = [];

  constructor(clock: Pick<Clock, "nowMs" | "wallMs">) {
    this.clock = clock;
  }

  noteOwn(report: NodeReport): void {
    this.ownReport = report;
    const before = this.standing;
    this.standing = stallsOf(report.facts);
    for (const stall of this.standing) if (!hasKind(before, stall)) this.tellStall(stall, "began");
    for (const stall of before) if (!hasKind(this.standing, stall)) this.tellStall(stall, "ended");
  }

  /** Nobody is told yet: what its leader says with it is to be known first. */
  keep(snapshot: ClusterSnapshot): void {
    const atMs = this.clock.nowMs();
    this.kept = { snapshot, atMs };
    this.window.put(seriesOf(snapshot), atMs);
  }

  tell(): void {
    for (const listener of this.listeners) listener();
  }

  latest(): KeptSnapshot | undefined {
    if (this.kept === undefined) return undefined;
    const { snapshot, atMs } = this.kept;
    const ageMs = this.clock.nowMs() - atMs;
    return { snapshot, cluster: clusterFacts(snapshot), ageMs, isStale: ageMs > STALE_MS };
  }

  own(): NodeReport | undefined {
    return this.ownReport;
  }

  onSnapshot(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  stalls(): readonly Stall[] {
    return this.standing;
  }

  onStall(listener: StallListener): void {
    this.stallListeners.push(listener);
  }

  seriesNames(): readonly string[] {
    return this.window.names;
  }

  history(series: string, sinceMs: number): readonly Point[] {
    const nowMs = this.clock.nowMs();
    const offsetMs = this.clock.wallMs() - nowMs;
    return this.window.points(series, sinceMs, nowMs).map(({ atMs, value }) => ({ atMs: atMs + offsetMs, value }));
  }

  over(series: string, windowMs: number, reduction: Reduction): number | undefined {
    const values = this.window.points(series, windowMs, this.clock.nowMs()).map(({ value }) => value);
    const newest = values.at(-1);
    if (newest === undefined) return undefined;
    const sum = values.reduce((total, value) => total + value, 0);
    switch (reduction) {
      case "sum":
        return sum;
      case "mean":
        return sum / values.length;
      case "max":
        return Math.max(...values);
      case "min":
        return Math.min(...values);
      case "last":
        return newest;
    }
  }

  private tellStall(stall: Stall, change: "began" | "ended"): void {
    for (const listener of this.stallListeners) listener(stall, change);
  }
}

function hasKind(stalls: readonly Stall[], { kind }: Stall): boolean {
  return stalls.some((stall) => stall.kind === kind);
}
