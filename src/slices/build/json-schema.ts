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
  return { ...z.toJSONSchema(schema, { io, unrepresentable: "any", cycles: "ref" }) };
}
