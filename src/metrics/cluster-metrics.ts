// Ports only: no code here. What the readers of the cluster's metrics see of them: rules, alerts, pages, people.
import type { Facts } from "./core/facts.ts";
import type { NodeReport } from "./core/report.ts";
import type { Stall } from "./core/progress-watch.ts";
import type { ClusterSnapshot } from "./core/snapshot.ts";
import type { Point } from "./core/window.ts";

/** A snapshot as this node has it. */
export interface KeptSnapshot {
  readonly snapshot: ClusterSnapshot;
  /** The cluster's facts: those of all nodes that are not stale as one. */
  readonly cluster: Facts;
  /** Since it came. The leader sends one per second. */
  readonly ageMs: number;
  /** None has come for a while: there is no leader, or this node does not hear it. */
  readonly isStale: boolean;
}

/** How a window of a series becomes one number; `last` is the newest value in it. */
export type Reduction = "sum" | "mean" | "max" | "min" | "last";

/**
 * The metrics of the cluster, on every node alike: the newest snapshot, and a window of two hours of every series
 * (names in core/series.ts, facts in core/facts.ts). Everything answers from memory at once. All of it goes when the
 * process ends, and none when the leader changes: each node has kept its own window.
 */
export interface ClusterMetrics {
  /** The newest snapshot; undefined before the first one has come. */
  latest(): KeptSnapshot | undefined;
  /** What this node itself reported last: it is there without any leader too. Undefined before the first second. */
  own(): NodeReport | undefined;
  /** Called after each new snapshot, about once a second. Must not throw. Gives what ends it. */
  onSnapshot(listener: () => void): () => void;
  /** What stands still on this node, or in the cluster as this node sees it. Looked at once a second. */
  stalls(): readonly Stall[];
  /** Called once when something begins to stand still, and once when it goes on. Must not throw. */
  onStall(listener: (stall: Stall, change: "began" | "ended") => void): void;
  /** Series that have a value in the window, in the order of their names. */
  seriesNames(): readonly string[];
  /**
   * Values of the last `sinceMs` (two hours at most), oldest first, by this node's wall clock; a second without a value
   * has no point. From beyond ten minutes one point stands for ten seconds: its mean, or its highest value where peaks
   * matter. Empty for a series that is not known.
   */
  history(series: string, sinceMs: number): readonly Point[];
  /** One number over the last `windowMs`; undefined when the series has no value in it. */
  over(series: string, windowMs: number, reduction: Reduction): number | undefined;
}
