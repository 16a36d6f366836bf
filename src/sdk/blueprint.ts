// Owns: a blueprint as people write it: the schema, its defaults, and `defineBlueprint`.
// Does not own: resolving ranges to exact artifacts, which needs the cluster.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { describeIssue, plainIssues, type SchemaIssue } from "../base/schema-issues.ts";
import { MiB } from "../base/units.ts";
import { nameSchema } from "./name.ts";
import { rolloutSchema, unavailableMax } from "./rollout.ts";

/**
 * Slices of one blueprint. Applying it is one transaction (128 operations at most) in which each slice needs a
 * guard and a write, and each slice that was dropped the same.
 */
export const BLUEPRINT_SLICES_MAX = 40;
/** Instances of one slice; bounds the length of plans and status answers. */
export const INSTANCES_MAX = 1_000;
/** Below this V8 cannot start a worker and import a bundle. */
const HEAP_BYTES_MIN = 16 * MiB;
const HEAP_BYTES_MAX = 4_096 * MiB;
/** Enough for a small service with zod; a bigger one says so in its blueprint. */
const HEAP_BYTES_DEFAULT = 128 * MiB;
const CONCURRENCY_MAX = 10_000;
const CONCURRENCY_DEFAULT = 64;

export const heapBytesSchema = z.int().min(HEAP_BYTES_MIN).max(HEAP_BYTES_MAX);
export const concurrencySchema = z.int().min(1).max(CONCURRENCY_MAX);
export const variablesSchema = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/), z.string().max(8_192));
/** These change how Node itself runs: a blueprint must not switch the flags of a worker, or of its children. */
export const RESERVED_VARIABLES: ReadonlySet<string> = new Set([
  "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "NODE_V8_COVERAGE",
]);
const documentVariablesSchema = variablesSchema.superRefine((variables, found) => {
  for (const name of Object.keys(variables).filter((one) => RESERVED_VARIABLES.has(one))) {
    found.addIssue({ code: "custom", path: [name], message: "it would change how Node itself runs: leave it out" });
  }
});
export const labelsSchema = z.record(z.string().regex(/^[a-z][a-z0-9_.-]{0,62}$/), z.string().max(63));

// Unknown fields are refused, so that a typo is not a silent default.
const sliceDocumentSchema = z
  .strictObject({
    artifact: z.string().min(1).max(300).describe("group:name@range, or group:name:version"),
    instances: z.int().min(0).max(INSTANCES_MAX).default(1).describe("How many instances the cluster runs."),
    config: z.unknown().optional().describe("Given to the slice as ctx.config, parsed by its schema."),
    heapBytesMax: heapBytesSchema.default(HEAP_BYTES_DEFAULT).describe("Heap of one instance, in bytes."),
    concurrency: concurrencySchema.default(CONCURRENCY_DEFAULT).describe("Calls of one instance that run at once."),
    variables: documentVariablesSchema.default({}).describe("Environment variables of an instance; it sees no others."),
    labels: labelsSchema.default({}).describe("Only nodes that have all of these labels run this slice."),
    minAvailable: z.int().min(0).max(INSTANCES_MAX).optional()
      .describe("Instances that planned moves leave active. Default: one less than instances, or what rollout leaves."),
    rollout: rolloutSchema.optional()
      .describe("How it gets from one version to the next. Default: rolling, surge 1, unavailable 0."),
  })
  .refine((slice) => slice.minAvailable === undefined || slice.minAvailable <= slice.instances, {
    error: "minAvailable is more than instances",
    path: ["minAvailable"],
  })
  .refine(({ instances, minAvailable = -Infinity, rollout }) =>
    unavailableMax(rollout, instances) <= instances - minAvailable, {
    error: "unavailable is more than minAvailable leaves of instances",
    path: ["rollout", "unavailable"],
  });

export const blueprintDocumentSchema = z.strictObject({
  name: nameSchema.optional().describe("If given, it must be the name under which the blueprint is applied."),
  slices: z
    .record(nameSchema, sliceDocumentSchema)
    .describe("Desired slices, by the name of their contract."),
});

/** What a person writes, as an object, YAML or JSON; everything with a default may be left out. */
export type BlueprintInput = z.input<typeof blueprintDocumentSchema>;
/** A blueprint with its defaults filled in. */
export type BlueprintDocument = z.output<typeof blueprintDocumentSchema>;
/** One slice of it. */
export type SliceDocument = BlueprintDocument["slices"][string];

/** Parses what a person wrote. @throws AetherError E_INVALID naming each wrong place, also in `details.issues`. */
export function parseBlueprintDocument(document: unknown): BlueprintDocument {
  // First, because a schema looks at each of a hundred thousand slices before it counts them.
  if (countSlices(document) > BLUEPRINT_SLICES_MAX) throw notABlueprint([TOO_MANY_SLICES]);
  const parsed = blueprintDocumentSchema.safeParse(document);
  if (parsed.success) return parsed.data;
  throw notABlueprint(plainIssues(parsed.error.issues));
}

const TOO_MANY_SLICES: SchemaIssue = {
  path: ["slices"],
  message: `a blueprint has at most ${BLUEPRINT_SLICES_MAX} slices; split it`,
};

function countSlices(document: unknown): number {
  if (typeof document !== "object" || document === null || !("slices" in document)) return 0;
  const { slices } = document;
  return typeof slices === "object" && slices !== null ? Object.keys(slices).length : 0;
}

function notABlueprint(issues: readonly SchemaIssue[]): AetherError {
  const message = `this is not a blueprint: ${issues.map(describeIssue).join("; ")}`;
  return new AetherError("E_INVALID", message, { details: { issues } });
}

/**
 * Defines the desired state of some slices, checked at once.
 * @throws AetherError E_INVALID naming each wrong place.
 * @example
 * export default defineBlueprint({
 *   name: "shop",
 *   slices: {
 *     orders: { artifact: "demo:orders@^1.0.0", instances: 2, config: { currency: "EUR" } },
 *     pricing: { artifact: "demo:pricing@^1.0.0", instances: 2 },
 *   },
 * });
 */
export function defineBlueprint(blueprint: BlueprintInput & { readonly name: string }): BlueprintInput {
  parseBlueprintDocument(blueprint);
  return blueprint;
}
