// Owns: reading what a worker passes to a service: plain data, of which nothing is known yet.
import { AetherError } from "../../base/errors.ts";

export type Fields = Readonly<Record<string, unknown>>;

/** @throws AetherError E_INVALID */
export function fieldsOf(value: unknown): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw invalidArgs("it", "an object");
}

/** @throws AetherError E_INVALID */
export function textOf(fields: Fields, name: string): string {
  const text = optionalText(fields, name);
  if (text === undefined) throw invalidArgs(name, "a text");
  return text;
}

/** @throws AetherError E_INVALID */
export function optionalText(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === undefined || typeof value === "string") return value;
  throw invalidArgs(name, "a text");
}

/** @throws AetherError E_INVALID */
export function optionalNumber(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || (typeof value === "number" && Number.isFinite(value))) return value;
  throw invalidArgs(name, "a number");
}

export function invalidArgs(place: string, wanted: string): AetherError {
  const message = `what a slice asked of its node is wrong: ${place} must be ${wanted}`;
  return new AetherError("E_INVALID", message, { details: { path: place } });
}

export function unknownOp(service: string, op: string): AetherError {
  const shown = op.slice(0, 40);
  return new AetherError("E_INVALID", `a node has no operation "${shown}" of ${service}; use what \`ctx\` has`);
}
