// Owns: a blueprint as it is stored, every range resolved to an exact artifact, and the instances it asks for.
// Does not own: what people write (sdk/blueprint.ts), the resolving (resolve-dependencies.ts), the rows' writing.
import { z } from "zod";
import { present } from "../../base/assert.ts";
import type { ArtifactId } from "../../base/ids.ts";
import { parseStored } from "../../base/stored-row.ts";
import {
  concurrencySchema, heapBytesSchema, INSTANCES_MAX, labelsSchema, variablesSchema,
} from "../../sdk/blueprint.ts";
import { nameSchema } from "../../sdk/name.ts";
import { rolloutSchema, type RolloutSettings } from "../../sdk/rollout.ts";
import {
  artifactIdSchema, instanceKeyOf, resolvedUsesSchema, type InstanceSpec, type ResolvedUse,
} from "./instance-spec.ts";
import { resolvedRouteSchema, type ResolvedRoute } from "./route-row.ts";
import {
  resolvedAgentScheduleSchema, resolvedScheduleSchema, type ResolvedAgentSchedule, type ResolvedSchedule,
} from "./schedule-row.ts";
import { resolvedTopicSchema, type ResolvedTopic } from "./topic-row.ts";

export interface ResolvedSlice {
  readonly artifact: ArtifactId;
  readonly instances: number;
  readonly config: unknown;
  readonly uses: Readonly<Record<string, ResolvedUse>>;
  /** Slices of this blueprint that must serve before an instance of this one is activated. */
  readonly loadAfter?: readonly string[];
  /** Its HTTP routes; absent when it has none. */
  readonly routes?: readonly ResolvedRoute[];
  /** The topics that it handles; absent when there are none. */
  readonly topics?: readonly ResolvedTopic[];
  readonly schedules?: readonly ResolvedSchedule[];
  /** Of its agents. */
  readonly agentSchedules?: readonly ResolvedAgentSchedule[];
  readonly heapBytesMax: number;
  readonly concurrency: number;
  readonly variables: Readonly<Record<string, string>>;
  /** Only nodes that have all of these labels run this slice. */
  readonly labels: Readonly<Record<string, string>>;
  /** Planned moves leave at least so many instances active. */
  readonly minAvailable: number;
  /** How it gets from one version to the next; absent: as `ROLLOUT_DEFAULT`. */
  readonly rollout?: RolloutSettings;
}

/** The value of `blueprints/{name}/{revision}`: immutable. */
export interface ResolvedBlueprint {
  readonly name: string;
  readonly revision: number;
  readonly slices: Readonly<Record<string, ResolvedSlice>>;
}

/** The value of `slice-owners/{slice}`. */
export interface SliceOwner {
  readonly blueprint: string;
}

/** The value of `blueprints/{name}/current`. */
export interface CurrentBlueprint {
  readonly revision: number;
}

const resolvedSliceSchema = z.object({
  artifact: artifactIdSchema,
  instances: z.int().min(0).max(INSTANCES_MAX),
  config: z.unknown(),
  uses: resolvedUsesSchema,
  loadAfter: z.array(nameSchema).exactOptional(),
  routes: z.array(resolvedRouteSchema).exactOptional(),
  topics: z.array(resolvedTopicSchema).exactOptional(),
  schedules: z.array(resolvedScheduleSchema).exactOptional(),
  agentSchedules: z.array(resolvedAgentScheduleSchema).exactOptional(),
  heapBytesMax: heapBytesSchema,
  concurrency: concurrencySchema,
  variables: variablesSchema,
  labels: labelsSchema,
  minAvailable: z.int().min(0).max(INSTANCES_MAX),
  rollout: rolloutSchema.exactOptional(),
});

const resolvedBlueprintSchema = z.object({
  name: nameSchema,
  revision: z.int().min(1),
  slices: z.record(nameSchema, resolvedSliceSchema),
});

const sliceOwnerSchema = z.object({ blueprint: z.string() });

const currentBlueprintSchema = z.object({ revision: z.int().min(1) });

/** Parses the value of `blueprints/{name}/{revision}`. @throws AetherError E_DATA_CORRUPT */
export function parseResolvedBlueprint(value: unknown): ResolvedBlueprint {
  return parseStored(resolvedBlueprintSchema, value, "a stored blueprint");
}

/** Parses the value of `blueprints/{name}/current`. @throws AetherError E_DATA_CORRUPT */
export function parseCurrentBlueprint(value: unknown): CurrentBlueprint {
  return parseStored(currentBlueprintSchema, value, "a stored blueprint");
}

/** Parses the value of `slice-owners/{slice}`: the blueprint that has the slice. @throws AetherError E_DATA_CORRUPT */
export function parseSliceOwner(value: unknown): SliceOwner {
  return parseStored(sliceOwnerSchema, value, "a stored owner of a slice");
}

/** Each artifact that the slices are, or are resolved to use, once. */
export function artifactsOf(slices: ResolvedBlueprint["slices"]): ReadonlySet<ArtifactId> {
  return new Set(Object.values(slices).flatMap(({ artifact, uses }) => [
    artifact, ...Object.values(uses).map((use) => use.artifact),
  ]));
}

/** What instance `index` of `slice` is made from. The slice must be in the blueprint. */
export function instanceSpecOf(blueprint: ResolvedBlueprint, slice: string, index: number): InstanceSpec {
  const resolved = present(blueprint.slices[slice], "the slice is part of the blueprint");
  return {
    key: instanceKeyOf(resolved.artifact, index),
    slice,
    artifact: resolved.artifact,
    index,
    config: resolved.config,
    uses: resolved.uses,
    heapBytesMax: resolved.heapBytesMax,
    concurrency: resolved.concurrency,
    variables: resolved.variables,
  };
}
