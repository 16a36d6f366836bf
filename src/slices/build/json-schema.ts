// Owns: zod schemas of a slice as JSON Schema, for its manifest.
import { z } from "zod";
import type { JsonSchema } from "../core/manifest.ts";

/** A schema of the slice's own copy of zod. */
export const zodType = z.custom<z.ZodType>(
  (value) => typeof value === "object" && value !== null && "_zod" in value && "safeParse" in value,
  { error: "not a zod 4 schema" },
);

export const callable = z.custom<() => unknown>((value) => typeof value === "function", { error: "not a function" });

/** Callers send what goes into an input schema and get what comes out of an output schema. */
export function toJsonSchema(schema: z.ZodType, io: "input" | "output"): JsonSchema {
  // What JSON Schema cannot say (a transform, a Date) becomes "anything"; the slice's own schema still checks it.
  const override = io === "input" ? { override: allowWhatIsTaken } : {};
  return { ...z.toJSONSchema(schema, { io, unrepresentable: "any", cycles: "ref", ...override }) };
}

/** Keywords that say nothing of what is allowed. */
const NOTES: ReadonlySet<string> = new Set(["$schema", "title", "description", "default", "examples", "deprecated"]);
const SIZES: readonly string[] = [
  "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
];

interface Written {
  readonly zodSchema: z.core.$ZodTypes;
  readonly jsonSchema: Record<string, unknown>;
}

/**
 * Zod writes down what a value is once it was coerced, caught, preprocessed or trimmed. Senders are judged by this
 * before the slice sees the value, so it may not refuse what the slice would take.
 */
function allowWhatIsTaken({ zodSchema, jsonSchema }: Written): void {
  const { def } = zodSchema._zod;
  const isChangedFirst = ("coerce" in def && def.coerce === true) || def.type === "catch" ||
    (def.type === "pipe" && def.in._zod.def.type === "transform");
  const isChangedBetween = def.checks?.some((check) => check._zod.def.check === "overwrite") === true;
  for (const keyword of Object.keys(jsonSchema)) {
    if (isChangedFirst ? !NOTES.has(keyword) : isChangedBetween && SIZES.includes(keyword)) delete jsonSchema[keyword];
  }
}
