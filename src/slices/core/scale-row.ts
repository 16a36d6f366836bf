// Owns: the row `scales/{slice}`: how many instances a slice has while that is not what its blueprint says.
// It stands beside the blueprint and never changes it. It counts for as long as the blueprint says the number that it
// was made from: another number there is a person's word, and goes before it.
import { z } from "zod";
import { parseStored } from "../../base/stored-row.ts";
import { INSTANCES_MAX } from "../../sdk/blueprint.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "./blueprint.ts";

export interface ScaleRow {
  readonly blueprint: string;
  /** What the blueprint said when this was written. */
  readonly base: number;
  readonly instances: number;
  /** From what it was before. */
  readonly direction: "up" | "down";
  /** Who wanted it: a rule, a model, a person. */
  readonly source: string;
  readonly reason: string;
  /** Milliseconds since the Unix epoch, by the clocks of most nodes. */
  readonly changedAtMs: number;
}

const scaleRowSchema = z.object({
  blueprint: z.string(),
  base: z.int().min(1).max(INSTANCES_MAX),
  instances: z.int().min(1).max(INSTANCES_MAX),
  direction: z.enum(["up", "down"]),
  source: z.string(),
  reason: z.string(),
  changedAtMs: z.number(),
});

/** @throws AetherError E_DATA_CORRUPT */
export function parseScaleRow(value: unknown): ScaleRow {
  return parseStored(scaleRowSchema, value, "the row of a slice's scale");
}

/** How many instances a slice is to have. */
export function scaledInstances(blueprint: string, slice: ResolvedSlice, row: ScaleRow | undefined): number {
  const { instances, minAvailable } = slice;
  const isAboutIt = row !== undefined && row.blueprint === blueprint && row.base === instances;
  return isAboutIt ? Math.max(row.instances, minAvailable) : instances;
}

/** The blueprint with the counts that its slices are to have now. */
export function withScales(
  blueprint: ResolvedBlueprint, rowOf: (slice: string) => ScaleRow | undefined,
): ResolvedBlueprint {
  const slices = Object.entries(blueprint.slices).map(([name, slice]) => {
    return [name, { ...slice, instances: scaledInstances(blueprint.name, slice, rowOf(name)) }] as const;
  });
  return { ...blueprint, slices: Object.fromEntries(slices) };
}
