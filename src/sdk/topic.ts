// Owns: topics: what slices tell each other without knowing who listens. Data and types, no behaviour.
import type { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { nameSchema } from "./name.ts";

export interface TopicOptions<P extends z.ZodType> {
  readonly payload: P;
  /** Messages with the same key are handled one after the other, in the order in which they were published. */
  readonly key?: (payload: z.output<P>) => string;
}

/** Something that happens, under a name, with the form of what is said about it. */
export interface Topic<N extends string = string, P extends z.ZodType = z.ZodType> {
  readonly name: N;
  readonly payload: P;
  // A method, so that topics of any payload are topics: what they are called with was parsed by their own schema.
  key?(payload: z.output<P>): string;
}

/** A topic with what is said about it: what a transaction publishes. Made by `messageOf`. */
export interface TopicMessage {
  readonly topic: Topic;
  readonly payload: unknown;
}

/**
 * A message for `publish` of a transaction: it is published exactly if all of its `compare` hold.
 * @example
 * await ctx.kv.transact({
 *   compare: [{ key: "orders/7", target: "exists", op: "=", value: false }],
 *   then: [{ kind: "put", key: "orders/7", value: order }],
 *   publish: [messageOf(orderPlaced, { order: "7", cents: 900 })],
 * });
 */
export function messageOf<P extends z.ZodType>(
  topic: Topic<string, P>, payload: NoInfer<z.input<P>>,
): TopicMessage {
  return { topic, payload };
}

/** Topics that one slice handles. */
export const TOPICS_MAX = 16;

/**
 * Defines a topic. Share it as contracts are shared.
 * @throws AetherError E_INVALID when the name cannot be part of a URL.
 * @example
 * export const orderPlaced = defineTopic("order-placed", {
 *   payload: z.object({ order: z.string(), cents: z.int() }),
 *   key: ({ order }) => order,
 * });
 */
export function defineTopic<const N extends string, P extends z.ZodType>(
  name: N, { payload, key }: TopicOptions<P>,
): Topic<N, P> {
  const checked = nameSchema.safeParse(name);
  if (!checked.success) {
    const reason = checked.error.issues[0]?.message ?? "";
    throw new AetherError("E_INVALID", `"${name}" cannot be the name of a topic: ${reason}`);
  }
  return { name, payload, ...(key === undefined ? {} : { key }) };
}
