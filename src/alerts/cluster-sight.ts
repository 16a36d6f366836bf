// Owns: what the rules of the cluster judge, put together on the node that leads.
import type { ClusterViews } from "../cluster/cluster-views.ts";
import type { MembershipService } from "../cluster/membership/membership-service.ts";
import type { Group, GroupMembership } from "../consensus/group.ts";
import type { SliceFacts } from "../control/core/advice.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import type { ClusterSnapshot } from "../metrics/core/snapshot.ts";
import type { ClusterSight, MethodSight, NodeSight, SliceSight } from "./core/sight.ts";
import type { InstanceFailures } from "./instance-failures.ts";

export interface SightPorts {
  readonly metrics: Pick<ClusterMetrics, "latest" | "over" | "seriesNames">;
  readonly membership: Pick<MembershipService, "nodes">;
  readonly group: Pick<Group, "status"> & Pick<GroupMembership, "membership">;
  readonly views: Pick<ClusterViews, "isComplete">;
  /** How slices stand, by their rows. */
  readonly slices: () => ReadonlyMap<string, SliceFacts>;
  readonly failures: Pick<InstanceFailures, "lately">;
}

/** Calls of strangers' names: nobody can mend those. */
const NO_NAME = "?";
const CALLS_SERIES = /^method\/([^/]+)\/([^/]+)\/made\/callsPerSecond$/;

export function clusterSight(ports: SightPorts): ClusterSight {
  const { metrics, views } = ports;
  const kept = metrics.latest();
  return {
    nodes: nodesOf(ports, kept?.snapshot),
    slices: views.isComplete ? slicesOf(ports) : undefined,
    methods: metrics.seriesNames().flatMap((name) => methodOf(name) ?? []),
    facts: kept?.cluster ?? {},
    over: (series, windowMs, reduction) => metrics.over(series, windowMs, reduction),
  };
}

function nodesOf(
  { membership, group }: SightPorts, snapshot: ClusterSnapshot | undefined,
): readonly NodeSight[] {
  const { decided } = group.status();
  const { supported } = group.membership();
  const reports = new Map(snapshot?.nodes.map((one) => [one.node, one]));
  return membership.nodes.map(({ node, status, applied }) => {
    const report = reports.get(node);
    return {
      node,
      isHere: status !== "suspected" && status !== "gone",
      facts: report === undefined || report.isStale ? undefined : report.facts,
      slotsBehind: applied === undefined ? undefined : Math.max(0, decided - applied),
      supportedVersion: supported.get(node),
    };
  });
}

function slicesOf({ slices, failures }: SightPorts): readonly SliceSight[] {
  const failed = failures.lately();
  return [...slices()].map(([slice, { active, instances, minAvailable }]) => ({
    slice,
    active,
    // Without a word of its blueprint at least one has to serve.
    needed: Math.min(instances, Math.max(1, minAvailable)),
    failures: failed.get(slice) ?? 0,
  }));
}

/** A snapshot has only methods that were called in its second: most are not, in most. */
function methodOf(series: string): MethodSight | undefined {
  const [, slice = NO_NAME, method = ""] = CALLS_SERIES.exec(series) ?? [];
  return slice === NO_NAME ? undefined : { slice, method };
}
