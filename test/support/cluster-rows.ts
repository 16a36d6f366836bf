// Owns: short ways for tests to write blueprints, nodes and instances as the planner sees them.
import { parseArtifactId, parseNodeId } from "../../src/base/ids.ts";
import { present } from "../../src/base/assert.ts";
import { GiB, MiB } from "../../src/base/units.ts";
import type { Labels, PlanNode } from "../../src/cluster/deployment/core/placement.ts";
import type { PlanInput, PlanInstance } from "../../src/cluster/deployment/core/plan-types.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "../../src/slices/core/blueprint.ts";
import type { InstanceRow } from "../../src/slices/core/instance-row.ts";
import { specDigestOf } from "../../src/slices/core/spec-digest.ts";

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

/** A node with memory for 64 instances of `sliceOf` and to spare. */
export function nodeOf(name: string, status: PlanNode["status"] = "ready", labels: Labels = {}): PlanNode {
  return { node: parseNodeId(name), status, labels, memoryBytes: 8 * GiB };
}

const STALL_MS = { begin: 30_000, LOADING: 150_000, ACTIVATING: 90_000, DEACTIVATING: 60_000, UNLOADING: 150_000 };

/** What a plan is made from; nothing where nothing is said. */
export function inputOf(input: Partial<PlanInput>): PlanInput {
  const nothing = {
    blueprints: [], frozen: new Set<string>(), nodes: [], instances: [], rollouts: [], unreadable: [],
  };
  return { ...nothing, revisionOf: () => undefined, stallMs: STALL_MS, ...input };
}

/** Instance `index` of a slice of `blueprint`, as it stands on `node`. */
export function instanceOf(
  blueprint: ResolvedBlueprint,
  slice: string,
  place: { readonly node: string; readonly index: number },
  row: Partial<InstanceRow> = {},
): PlanInstance {
  const resolved = present(blueprint.slices[slice], "the slice is part of the blueprint");
  return {
    node: parseNodeId(place.node),
    artifact: resolved.artifact,
    index: place.index,
    heapBytesMax: resolved.heapBytesMax,
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
      specDigest: specDigestOf(resolved),
      ...row,
    },
  };
}
