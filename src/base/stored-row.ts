// Owns: reading what was stored: a value that is not what its schema says is damaged, not invalid input.
import { z } from "zod";
import { AetherError } from "./errors.ts";
import { parseDigest } from "./ids.ts";

/** A sha-256 digest in hex. */
export const digestSchema = z.string().regex(/^[0-9a-f]{64}$/).transform(parseDigest);

/** `what` it is, for people: "a row of an instance". @throws AetherError E_DATA_CORRUPT naming the place */
export function parseStored<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new AetherError("E_DATA_CORRUPT", `${what} does not parse: ${z.prettifyError(parsed.error)}`);
}
