// Owns: the rows of topics as they are stored: groups, messages that wait, messages that were given up.
// Does not own: who writes them (topic-groups.ts, and cluster/topics).
import { z } from "zod";
import { parseStored } from "../../base/stored-row.ts";
import { nameSchema } from "../../sdk/name.ts";
import type { Manifest } from "./manifest.ts";

/** A topic that a slice handles, and the method that does it. */
export interface ResolvedTopic {
  readonly topic: string;
  readonly method: string;
}

/** The value of `topics/{topic}/groups/{slice}`. */
export interface TopicGroupRow {
  readonly blueprint: string;
  readonly method: string;
}

/** The value of `topics/{topic}/waiting/{group}/…`. */
export interface TopicMessageRow {
  /** Messages with the same one are handled in their order. */
  readonly key: string;
  readonly payload: unknown;
  /** Of the payload, about. */
  readonly bytes: number;
  /** How often it was given to the group, and not handled. */
  readonly attempts: number;
}

/** The value of `topics/{topic}/dead/{group}/…`. */
export interface DeadMessageRow extends TopicMessageRow {
  readonly error: { readonly code: string; readonly message: string };
}

const WHAT = "a stored row of a topic";

export const resolvedTopicSchema = z.object({ topic: nameSchema, method: nameSchema });
const groupSchema = z.object({ blueprint: nameSchema, method: nameSchema });
const messageSchema = z.object({
  key: z.string(), payload: z.unknown(), bytes: z.int().min(0), attempts: z.int().min(0),
});

const deadSchema = messageSchema.extend({ error: z.object({ code: z.string(), message: z.string() }) });

/** @throws AetherError E_DATA_CORRUPT */
export function parseTopicGroupRow(value: unknown): TopicGroupRow {
  return parseStored(groupSchema, value, WHAT);
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseTopicMessageRow(value: unknown): TopicMessageRow {
  return parseStored(messageSchema, value, WHAT);
}

/** Undefined for a row that is damaged. */
export function parseDeadMessageRow(value: unknown): DeadMessageRow | undefined {
  return deadSchema.safeParse(value).data;
}

/** The topics of a manifest in one order; a manifest without topics has none. */
export function resolveTopics({ on = {} }: Pick<Manifest, "on">): readonly ResolvedTopic[] {
  return Object.entries(on).sort(([a], [b]) => (a < b ? -1 : 1)).map(([topic, method]) => ({ topic, method }));
}
