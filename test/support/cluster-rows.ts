// Owns: short ways for tests to write blueprints, nodes and instances as the planner sees them.
import { parseArtifactId, parseNodeId } from "../../src/base/ids.ts";
import { MiB } from "../../src/base/units.ts";
import type { Labels, PlanNode } from "../../src/cluster/core/placement.ts";
import type { PlanInstance } from "../../src/cluster/core/reconcile.ts";
import { instanceSpecOf, type ResolvedBlueprint, type ResolvedSlice } from "../../src/slices/core/blueprint.ts";
import type { InstanceRow } from "../../src/slices/core/instance-row.ts";

export function sliceOf(name: string, instances: number, options: Partial<ResolvedSlice> = {}): ResolvedSlice {
  return {
    artifact: parseArtifactId(`demo:${name}:1.0.0`),
    instances,
    config: {},
    uses: {},
    heapBytesMax: 64 * MiB,
    concurrency: 8,
    variables: {},
    labels: {},
    minAvailable: 0,
    ...options,
  };
}

export function blueprintOf(slices: Record<string, ResolvedSlice>, revision = 1, name = "shop"): ResolvedBlueprint {
  return { name, revision, slices };
}

export function nodeOf(name: string, status: PlanNode["status"] = "ready", labels: Labels = {}): PlanNode {
  return { node: parseNodeId(name), status, labels };
}

/** Instance `index` of a slice of `blueprint`, as it stands on `node`. */
export function instanceOf(
  blueprint: ResolvedBlueprint,
  slice: string,
  place: { readonly node: string; readonly index: number },
  row: Partial<InstanceRow> = {},
): PlanInstance {
  const spec = instanceSpecOf(blueprint, slice, place.index);
  return {
    node: parseNodeId(place.node),
    artifact: spec.artifact,
    index: place.index,
    modRevision: 1,
    unchangedForMs: 0,
    row: {
      state: "ACTIVE",
      slice,
      blueprint: blueprint.name,
      revision: blueprint.revision,
      generation: 1,
      sinceMs: 0,
      attempt: 1,
      spec,
      ...row,
    },
  };
}
