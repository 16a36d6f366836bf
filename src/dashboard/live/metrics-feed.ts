// Owns: the snapshot of the cluster's metrics, every second while a page looks at it, and those of the last minutes.
import type { SnapshotAnswer } from "../answers.ts";
import { nowMs, type Stop } from "../browser-adapter.ts";
import { follow } from "./event-source.ts";
import { Store } from "./store.ts";

export interface KeptSnapshot {
  readonly atMs: number;
  readonly snapshot: SnapshotAnswer;
}

const KEPT_MAX = 300;

export class MetricsFeed {
  /** Oldest first. */
  readonly kept = new Store<readonly KeptSnapshot[]>([]);

  watch(): Stop {
    return follow({
      open: () => "/v1/metrics/stream",
      events: { snapshot: (data) => this.take(data as { readonly snapshot: SnapshotAnswer | null }) },
    });
  }

  private take({ snapshot }: { readonly snapshot: SnapshotAnswer | null }): void {
    if (snapshot === null) return;
    const kept = this.kept.get();
    // The first one of a stream may be the last one of the stream before.
    if (kept.at(-1)?.snapshot.seq === snapshot.seq) return;
    this.kept.set([...kept.slice(1 - KEPT_MAX), { atMs: nowMs(), snapshot }]);
  }
}
