// Owns: how the parts of the metrics of one node are put together.
import type { NodeId } from "../base/ids.ts";
import type { ClusterServices } from "../cluster/cluster-services.ts";
import type { Group } from "../consensus/group.ts";
import type { Env } from "../env/env.ts";
import type { PeerMessaging } from "../net/peer-messaging.ts";
import type { SliceStore } from "../slices/host/slice-store.ts";
import type { CallTallies } from "./call-tallies.ts";
import type { ClusterMetrics } from "./cluster-metrics.ts";
import { Collector, type FactSource } from "./collector.ts";
import { MetricsService } from "./metrics-service.ts";
import { MetricsStore } from "./metrics-store.ts";

export interface MetricsPorts {
  readonly messaging: PeerMessaging;
  readonly cluster: Pick<ClusterServices, "leadership" | "membership">;
  readonly group: Pick<Group, "status">;
  readonly slices: Pick<SliceStore, "loads">;
  readonly made: CallTallies;
  readonly handled: CallTallies;
}

export interface NodeMetricsParts {
  readonly metrics: ClusterMetrics;
  start(): void;
  close(): void;
}

export function openMetrics(
  env: Pick<Env, "clock" | "telemetry" | "meter">, ports: MetricsPorts, self: NodeId,
): NodeMetricsParts {
  const { messaging, cluster: { leadership, membership }, group, slices, made, handled } = ports;
  const store = new MetricsStore(env.clock);
  const collector = new Collector({
    process: env.meter, made, handled, instances: () => slices.loads(), facts: [factsOfGroup(group)],
  }, env.clock.nowMs());
  const service = new MetricsService(env, { messaging, leadership, membership, collector, store }, self);
  return { metrics: store, start: () => service.start(), close: () => service.close() };
}

function factsOfGroup(group: MetricsPorts["group"]): FactSource {
  return () => {
    const { applied, decided } = group.status();
    return { slotsPerSecond: applied, unappliedSlots: Math.max(0, decided - applied) };
  };
}
