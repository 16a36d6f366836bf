// Owns: how slices and the cluster stand for control, read from the rows in every round: nothing of it is remembered.
import type { ClusterViews } from "../cluster/cluster-views.ts";
import type { MembershipService, NodeView } from "../cluster/membership/membership-service.ts";
import { isUnderWay } from "../slices/core/rollout-row.ts";
import { scaledInstances } from "../slices/core/scale-row.ts";
import { specDigestOf } from "../slices/core/spec-digest.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "../slices/core/blueprint.ts";
import type { LastChange, SliceFacts } from "./core/advice.ts";

export type FactViews = Pick<ClusterViews, "currentBlueprints" | "scaleOf" | "slices" | "rollouts">;

export interface FactSources {
  readonly views: FactViews;
  readonly membership: Pick<MembershipService, "nodes">;
  readonly pinnedBy: (slice: string) => string | undefined;
  /** How long ago a change was that the row of a scale tells of. */
  readonly agoMs: (slice: string, changedAtMs: number, modRevision: number) => number;
}

export function sliceFactsOf(sources: FactSources): ReadonlyMap<string, SliceFacts> {
  const ready = new Set(sources.membership.nodes.filter(isReady).map(({ node }) => node));
  const facts = sources.views.currentBlueprints().flatMap((blueprint) =>
    Object.entries(blueprint.slices).map(([slice, resolved]) =>
      [slice, factsOf(sources, ready, { blueprint, slice, resolved })] as const));
  return new Map(facts);
}

/** Nodes that take instances. */
export function isReady({ status }: NodeView): boolean {
  return status === "on-duty";
}

/** Nodes that are being emptied, or whose process is about to end. */
export function isDraining({ status }: NodeView): boolean {
  return status === "draining";
}

function factsOf(
  { views, pinnedBy, agoMs }: FactSources,
  ready: ReadonlySet<string>,
  { blueprint, slice, resolved }: {
    readonly blueprint: ResolvedBlueprint; readonly slice: string; readonly resolved: ResolvedSlice;
  },
): SliceFacts {
  const digest = specDigestOf(resolved);
  const rows = [...views.slices.rows().values()].map(({ value }) => value).filter(({ row }) => row.slice === slice);
  const rollout = [...views.rollouts.rows().values()].find(({ value }) =>
    value.slice === slice && value.blueprint === blueprint.name)?.value.row;
  const scale = views.scaleOf(slice);
  const change: LastChange | undefined = scale && {
    direction: scale.value.direction,
    agoMs: agoMs(slice, scale.value.changedAtMs, scale.modRevision),
  };
  const isTurning = rows.some(({ row }) => row.specDigest !== digest && row.state === "ACTIVE");
  return {
    blueprint: blueprint.name,
    base: resolved.instances,
    instances: scaledInstances(blueprint.name, resolved, scale?.value),
    active: rows.filter(({ node, row }) => row.state === "ACTIVE" && ready.has(node)).length,
    minAvailable: resolved.minAvailable,
    // Also before its row is written; what was rolled back stays so, and is no hindrance.
    isRollingOut: rollout === undefined ? isTurning : isUnderWay(rollout) || (isTurning && rollout.stage === "done"),
    pinnedBy: pinnedBy(slice),
    change,
  };
}
