// Owns: what a plan is made from, as this node sees it. Does not own: making or carrying out the plan.
import type { KeyText } from "../../kvstore/core/key.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { isDrainedOnRequest } from "../membership/core/node-duty.ts";
import type { PlanNode } from "./core/placement.ts";
import type { PlanInput, PlanRollout, StallLimits } from "./core/plan-types.ts";
import type { InstanceTimeLimits } from "./instance-driver.ts";
import type { MembershipService, NodeView } from "../membership/membership-service.ts";
import type { CallTallies } from "../rollouts/call-tallies.ts";

export interface PlanInputPorts {
  readonly views: Pick<
    ClusterViews,
    "slices" | "rollouts" | "scaledBlueprints" | "unreadableBlueprints" | "unreadableInstances" | "revisionOf"
  >;
  readonly membership: Pick<MembershipService, "nodes">;
  readonly tallies: Pick<CallTallies, "sumOf">;
}

/** How long a row has been seen as it is, which says itself that it came at `sinceMs`. */
type UnchangedForMs = (key: KeyText, modRevision: number, sinceMs: number) => number;

export function planInputOf(
  ports: PlanInputPorts,
  limits: InstanceTimeLimits,
  unchangedForMs: UnchangedForMs,
): PlanInput {
  const { views, membership } = ports;
  const instances = [...views.slices.rows().values()].map(({ text, modRevision, value }) => ({
    ...value,
    heapBytesMax: views.revisionOf(value.row.blueprint, value.row.revision)?.slices[value.row.slice]?.heapBytesMax ?? 0,
    modRevision,
    unchangedForMs: unchangedForMs(text, modRevision, value.row.sinceMs),
  }));
  return {
    blueprints: views.scaledBlueprints(),
    frozen: views.unreadableBlueprints(),
    nodes: membership.nodes.map(planNodeOf),
    instances,
    rollouts: rolloutsOf(ports, unchangedForMs),
    revisionOf: (name, revision) => views.revisionOf(name, revision),
    unreadable: views.unreadableInstances(),
    stallMs: stallLimitsOf(limits),
  };
}

function rolloutsOf(
  { views: { rollouts }, tallies }: PlanInputPorts,
  unchangedForMs: UnchangedForMs,
): readonly PlanRollout[] {
  const read = rollouts.rowsInKeyOrder().map(({ text, modRevision, value }) => ({
    ...value,
    modRevision,
    unchangedForMs: unchangedForMs(text, modRevision, value.row.sinceMs),
    tally: tallies.sumOf(value.slice, modRevision),
  }));
  const damaged = [...rollouts.damaged.values()].flatMap(({ key, modRevision }) => {
    if (key.kind !== "rollout") return [];
    const { blueprint, slice } = key;
    return { blueprint, slice, row: undefined, modRevision, unchangedForMs: 0, tally: undefined };
  });
  return [...read, ...damaged];
}

function planNodeOf({ node, status, row }: NodeView): PlanNode {
  const labels = row?.labels ?? {};
  const memoryBytes = row?.capacity.memoryBytes ?? 0;
  if (status === "gone") return { node, status: "gone", labels, memoryBytes };
  if (status === "on-duty") return { node, status: "ready", labels, memoryBytes };
  const isLeaving = (status === "draining" || status === "drained") && row !== undefined && isDrainedOnRequest(row);
  return { node, status: isLeaving ? "leaving" : "away", labels, memoryBytes };
}

function stallLimitsOf(limits: InstanceTimeLimits): StallLimits {
  const { loadingMs, activatingMs, deactivatingMs, unloadingMs, lateMs } = limits;
  return {
    begin: lateMs,
    LOADING: loadingMs + lateMs,
    ACTIVATING: activatingMs + lateMs,
    DEACTIVATING: deactivatingMs + lateMs,
    UNLOADING: unloadingMs + lateMs,
  };
}
