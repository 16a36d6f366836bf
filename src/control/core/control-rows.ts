// Owns: the rows `control/rules`, `control/pause` and `control/pins/{slice}`, and their parsing.
import { z } from "zod";
import { parseStored } from "../../base/stored-row.ts";
import { RULE_FILE_BYTES_MAX } from "./rules.ts";

/** Characters of why somebody paused or pinned. */
export const REASON_CHARS_MAX = 500;

export interface RulesRow {
  /** As it was written, so that people get back what they gave. */
  readonly text: string;
  readonly by: string;
  readonly atMs: number;
}

/** Somebody keeps something as it is. */
export interface HoldRow {
  readonly by: string;
  readonly reason?: string;
  readonly atMs: number;
}

const rulesSchema = z.object({ text: z.string().max(RULE_FILE_BYTES_MAX), by: z.string(), atMs: z.number() });
const holdSchema = z.object({
  by: z.string(), reason: z.string().max(REASON_CHARS_MAX).exactOptional(), atMs: z.number(),
});

/** @throws AetherError E_DATA_CORRUPT */
export function parseRulesRow(value: unknown): RulesRow {
  return parseStored(rulesSchema, value, "the row of the rules");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseHoldRow(value: unknown): HoldRow {
  return parseStored(holdSchema, value, "the row of a pause or a pin");
}

/** Who, and why if that was said. */
export function holderOf({ by, reason }: HoldRow): string {
  return reason === undefined ? by : `${by} (${reason})`;
}
