// Owns: parsing of what comes through the door: one way to say what is wrong with it.
import type { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { describeIssue, plainIssues } from "../base/schema-issues.ts";

/** Parses `value`. @throws AetherError E_INVALID whose details carry the places and reasons. */
export function parseInput<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = plainIssues(parsed.error.issues);
  throw new AetherError("E_INVALID", `${what} is not valid: ${issues.map(describeIssue).join("; ")}`, {
    details: { issues },
  });
}
