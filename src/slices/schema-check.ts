// Owns: checking values against the schemas of a contract, and the form in which they travel: what its author would
// pass in (`z.input`), so that each side can parse it. Runs inside the worker.
import type { ErrorDetails } from "../base/errors.ts";
import { describeIssue, plainIssues } from "../base/schema-issues.ts";
import type { ParseOutcome, SchemaShape } from "./worker/slice-module.ts";

export type Checked =
  | { readonly kind: "valid"; readonly data: unknown }
  | { readonly kind: "invalid"; readonly text: string; readonly details: ErrorDetails };

export async function checkValue(schema: SchemaShape, value: unknown): Promise<Checked> {
  const outcome = parseNow(schema, value) ?? (await schema.safeParseAsync(value));
  if (outcome.success) return { kind: "valid", data: outcome.data };
  const issues = plainIssues(outcome.error.issues);
  return { kind: "invalid", text: issues.map(describeIssue).join("; "), details: { issues } };
}

/**
 * What travels for parsed data. Encoding leaves out what the schema does not name and fills in defaults; a schema with
 * one-way transforms cannot do that, and then `raw`, which was just accepted, travels as it is.
 */
export function encodeForWire(schema: SchemaShape, data: unknown, raw: unknown): unknown {
  if (schema.safeEncode === undefined) return raw;
  try {
    const encoded = schema.safeEncode(data);
    return encoded.success ? encoded.data : raw;
  } catch {
    // ignored: the schema has no way back (a transform, or an asynchronous check); `raw` is valid as it is.
    return raw;
  }
}

/** The synchronous parse, which zod compiles; undefined when the schema has asynchronous checks and refuses it. */
function parseNow(schema: SchemaShape, value: unknown): ParseOutcome | undefined {
  try {
    return schema.safeParse(value);
  } catch {
    // ignored: whatever it was happens again in the asynchronous parse, whose failure the caller sees.
    return undefined;
  }
}
