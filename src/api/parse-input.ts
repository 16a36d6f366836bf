// Owns: parsing of what comes through the door: one way to say what is wrong with it.
import type { z } from "zod";
import { AetherError } from "../base/errors.ts";

/** Parses `value`. @throws AetherError E_INVALID whose details carry the places and reasons. */
export function parseInput<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => ({ path: issue.path.map(String), message: issue.message }));
  const first = issues[0];
  const place = first === undefined || first.path.length === 0 ? "" : ` at ${first.path.join(".")}`;
  throw new AetherError("E_INVALID", `${what} is not valid${place}: ${first?.message ?? "unknown reason"}`, {
    details: { issues },
  });
}
