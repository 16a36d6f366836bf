// Owns: the value of the rows `slices/{node}/{artifact}/{instance}`: one instance on one node, its state and why.
// What it runs is not repeated in it: that stands in the revision of the blueprint that it names, which is kept for as
// long. The leader writes the commands (LOAD, ACTIVATE, DEACTIVATE, UNLOAD), the node everything else.
import { z } from "zod";
import type { Digest } from "../../base/ids.ts";
import { digestSchema, parseStored } from "../../base/stored-row.ts";
import { nameSchema } from "../../sdk/name.ts";

export const INSTANCE_STATES = [
  "LOAD", "LOADING", "LOADED", "ACTIVATE", "ACTIVATING", "ACTIVE",
  "DEACTIVATE", "DEACTIVATING", "UNLOAD", "UNLOADING", "FAILED",
] as const;

export type InstanceRowState = (typeof INSTANCE_STATES)[number];

/** Why an instance failed, and whether trying again can help. */
export interface InstanceFailure {
  readonly code: string;
  readonly message: string;
  /** True: the same artifact and config will fail again; only a new blueprint revision helps. */
  readonly fatal: boolean;
  /** Wall time of the next attempt, once the leader has planned one. */
  readonly retryAtMs?: number;
}

export interface InstanceRow {
  readonly state: InstanceRowState;
  /** Name of the slice, so that a row can be read without its blueprint. */
  readonly slice: string;
  readonly blueprint: string;
  /** The blueprint's revision that this instance was made from. */
  readonly revision: number;
  /** Grows with every LOAD of this row: tells two lives of one instance apart. */
  readonly generation: number;
  /** Wall time at which `state` was entered; for people, never for decisions between nodes. */
  readonly sinceMs: number;
  /** Attempts to bring it up since it was last ACTIVE; the first is 1. */
  readonly attempt: number;
  /** What it was made from, see `specDigestOf`. Rows of builds before this field have none and count as outdated. */
  readonly specDigest?: Digest;
  /** Present in FAILED, and in the LOAD that follows a failure. */
  readonly error?: InstanceFailure;
}

export const instanceRowSchema = z.object({
  state: z.enum(INSTANCE_STATES),
  slice: nameSchema,
  blueprint: nameSchema,
  revision: z.int().min(1),
  generation: z.int().min(0),
  sinceMs: z.number(),
  attempt: z.int().min(0),
  specDigest: digestSchema.exactOptional(),
  error: z.object({
    code: z.string(),
    message: z.string(),
    fatal: z.boolean(),
    retryAtMs: z.number().exactOptional(),
  }).exactOptional(),
});

/** Parses a stored row. @throws AetherError E_DATA_CORRUPT naming the place that is wrong. */
export function parseInstanceRow(value: unknown): InstanceRow {
  return parseStored(instanceRowSchema, value, "a row of an instance");
}
