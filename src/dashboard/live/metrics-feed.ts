// Owns: the snapshot of the cluster's metrics, every second while a page looks at it, and those of the last minutes.
import type { MethodAnswer, SnapshotAnswer } from "../answers.ts";
import { nowMs, type Stop } from "../browser-adapter.ts";
import { follow } from "./event-source.ts";
import { Store } from "./store.ts";

export interface KeptSnapshot {
  readonly atMs: number;
  readonly snapshot: SnapshotAnswer;
}

const KEPT_MAX = 300;
/** A snapshot has only methods that were called in its second: those of before stay in the list, up to so many. */
const METHODS_MAX = 2_000;

export class MetricsFeed {
  /** Oldest first. */
  readonly kept = new Store<readonly KeptSnapshot[]>([]);
  /** As their instances handled them, in the last second; of those that were not called then, nothing but the name. */
  readonly handled = new Store<readonly MethodAnswer[]>([]);
  private quiet = new Map<string, MethodAnswer>();

  watch(): Stop {
    return follow({
      open: () => "/v1/metrics/stream",
      events: { snapshot: (data) => this.take(data as { readonly snapshot: SnapshotAnswer | null }) },
    });
  }

  private take({ snapshot }: { readonly snapshot: SnapshotAnswer | null }): void {
    if (snapshot === null) return;
    const kept = this.kept.get();
    const last = kept.at(-1)?.snapshot;
    // The first one of a stream may be the last one of the stream before; each leader counts anew.
    if (last?.seq === snapshot.seq && last.epoch === snapshot.epoch) return;
    this.takeMethods(snapshot);
    this.kept.set([...kept.slice(1 - KEPT_MAX), { atMs: nowMs(), snapshot }]);
  }

  private takeMethods({ methods }: SnapshotAnswer): void {
    const handled = methods.filter(({ direction }) => direction === "handled");
    const before = this.quiet;
    this.quiet = new Map(handled.map((method) => [`${method.slice}.${method.method}`, quietly(method)]));
    const called = new Set(this.quiet.keys());
    const others = [...before].filter(([name]) => !called.has(name)).slice(0, Math.max(0, METHODS_MAX - called.size));
    for (const [name, method] of others) this.quiet.set(name, method);
    this.handled.set([...handled, ...others.map(([, method]) => method)]);
  }
}

/** The same method in a second without a call. */
function quietly(method: MethodAnswer): MethodAnswer {
  return { ...method, callsPerSecond: 0, errorsPerSecond: 0, p50Ms: null, p95Ms: null, p99Ms: null, durations: [] };
}
