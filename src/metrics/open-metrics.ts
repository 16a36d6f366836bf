// Owns: how the parts of the metrics of one node are put together.
import type { NodeId } from "../base/ids.ts";
import type { ClusterServices } from "../cluster/cluster-services.ts";
import type { GroupDriver } from "../consensus/group-driver.ts";
import type { Clock } from "../env/clock.ts";
import type { Env } from "../env/env.ts";
import type { PeerMessaging } from "../net/peer-messaging.ts";
import type { KvStore } from "../kvstore/kv-store.ts";
import type { SliceStore } from "../slices/host/slice-store.ts";
import type { CallTallies } from "./call-tallies.ts";
import type { ClusterMetrics } from "./cluster-metrics.ts";
import { Collector, type FactSource } from "./collector.ts";
import { known } from "./core/facts.ts";
import type { LeaderWordPort } from "./core/leader-word.ts";
import { ApplyProgress } from "./core/progress-watch.ts";
import type { MetricsConfig } from "./metrics-config.ts";
import { MetricsService } from "./metrics-service.ts";
import { MetricsStore } from "./metrics-store.ts";

export interface MetricsPorts {
  readonly messaging: PeerMessaging;
  readonly cluster: Pick<ClusterServices, "leadership" | "membership">;
  readonly group: Pick<GroupDriver, "status" | "counts" | "pendingCommands" | "patienceFirings">;
  readonly kv: Pick<KvStore, "usage">;
  readonly slices: Pick<SliceStore, "loads">;
  readonly made: CallTallies;
  readonly handled: CallTallies;
  /** What parts to the right say of themselves. */
  readonly facts: readonly FactSource[];
  readonly word: LeaderWordPort;
}

export interface NodeMetricsParts {
  readonly metrics: ClusterMetrics;
  start(): void;
  close(): void;
}

export function openMetrics(
  env: Pick<Env, "clock" | "telemetry" | "meter">, of: MetricsPorts, self: NodeId, config: MetricsConfig,
): NodeMetricsParts {
  const { messaging, cluster: { leadership, membership }, group, kv, slices, made, handled, facts, word } = of;
  const store = new MetricsStore(env.clock);
  const collector = new Collector({
    process: env.meter,
    made,
    handled,
    instances: () => slices.loads(),
    facts: [
      factsOfGroup(group, env.clock),
      () => ({ storeLiveBytes: kv.usage().liveBytes, storeQuotaBytes: kv.usage().quotaBytes }),
      () => ({ clockOffMs: Math.abs(membership.clockOffMs) }),
      ...facts,
    ],
  }, env.clock.nowMs());
  const { log } = env.telemetry;
  store.onStall(({ kind, forMs, text }, change) => {
    if (change === "began") log.warn({ event: "node.stalled", stall: kind, forMs: Math.round(forMs), reason: text });
    else log.info({ event: "node.goes-on", stall: kind });
  });
  const ports = { messaging, leadership, membership, collector, store, word };
  const service = new MetricsService(env, ports, { node: self, ...config });
  return { metrics: store, start: () => service.start(), close: () => service.close() };
}

function factsOfGroup(group: MetricsPorts["group"], clock: Pick<Clock, "nowMs">): FactSource {
  const progress = new ApplyProgress();
  return () => {
    const { applied, decided, catchUp } = group.status();
    const { counts, pendingCommands } = group;
    const state = { applied, decided, pendingCommands, isCatchingUp: catchUp !== undefined };
    const writeTimes = counts.takeWriteTimes();
    return known({
      slotsPerSecond: applied,
      unappliedSlots: Math.max(0, decided - applied),
      applyStalledMs: progress.note(state, clock.nowMs()),
      nullSlotsPerSecond: counts.nullSlots,
      latePhasesPerSecond: counts.latePhases,
      batchesPerSecond: counts.batches,
      commandsPerSecond: counts.batchCommands,
      pendingCommands,
      patiencePerSecond: group.patienceFirings,
      diskWritesPerSecond: counts.writes,
      diskWriteMsP50: writeTimes.percentile(0.5),
      diskWriteMsP99: writeTimes.percentile(0.99),
    });
  };
}
