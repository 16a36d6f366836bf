// Owns: `ctx.publish` on the side of the node: reading what a worker asks, and the size of a message.
// Does not own: who gets the message (TopicPublisher).
import { AetherError } from "../../base/errors.ts";
import { KiB } from "../../base/units.ts";
import type { Compare, Op } from "../../kvstore/core/schema.ts";
import { nameSchema } from "../../sdk/name.ts";
import { toPlain } from "../core/plain-data.ts";
import { fieldsOf, invalidArgs, optionalText, textOf, unknownOp } from "./service-args.ts";
import type { OpenService, ServiceScope, SliceService } from "./slice-services.ts";

export interface PublishedMessage {
  readonly topic: string;
  /** Undefined when the order of messages does not matter. */
  readonly key: string | undefined;
  readonly payload: unknown;
  readonly bytes: number;
}

/** Holds while the topics are handled by those for whom it has a message. */
export interface PublishingParts {
  readonly compare: readonly Compare[];
  readonly then: readonly Op[];
}

/** `cluster` implements it, `node` wires it. */
export interface TopicPublisher {
  /**
   * What publishes these messages as a part of a transaction, as this node sees who handles them now; undefined when it
   * does not know that yet. @throws AetherError E_OVERLOADED
   */
  parts(messages: readonly PublishedMessage[]): PublishingParts | undefined;
  /** They were published as a part of a transaction. */
  notePublished(messages: readonly PublishedMessage[]): void;
  /** Resolves once every group of the topic is sure to get it. @throws AetherError with its outcome */
  publish(message: PublishedMessage, scope: ServiceScope): Promise<void>;
}

/** Every group gets a copy of it, in one transaction. */
export const PAYLOAD_BYTES_MAX = 64 * KiB;
export const MESSAGE_KEY_CHARS_MAX = 256;

export function openTopicService(publisher: TopicPublisher): OpenService {
  return () => new TopicService(publisher);
}

class TopicService implements SliceService {
  private readonly publisher: TopicPublisher;

  constructor(publisher: TopicPublisher) {
    this.publisher = publisher;
  }

  async run(op: string, args: unknown, scope: ServiceScope): Promise<undefined> {
    if (op !== "publish") throw unknownOp("topics", op);
    await this.publisher.publish(readMessage(args), scope);
    return undefined;
  }

  close(): void {
    // It holds nothing.
  }
}

/** @throws AetherError E_INVALID, E_TOO_LARGE */
export function readMessage(args: unknown): PublishedMessage {
  const fields = fieldsOf(args);
  const topic = textOf(fields, "topic");
  if (!nameSchema.safeParse(topic).success) throw invalidArgs("topic", "the name of a topic");
  const key = optionalText(fields, "key");
  const chars = key?.length ?? 0;
  if (chars > MESSAGE_KEY_CHARS_MAX) throw tooLarge("key", chars, MESSAGE_KEY_CHARS_MAX);
  const payload = toPlain(fields["payload"], PAYLOAD_BYTES_MAX);
  if (payload.kind === "too-large") throw tooLarge("payload", payload.actual, PAYLOAD_BYTES_MAX);
  if (payload.kind === "not-plain") throw invalidArgs("payload", "plain data");
  const { value, bytes } = payload;
  return { topic, key, payload: value ?? null, bytes };
}

function tooLarge(what: string, actual: number, limit: number): AetherError {
  const message = `did not publish the message: its ${what} has ${actual}, the limit is ${limit}; send less`;
  return new AetherError("E_TOO_LARGE", message, { details: { limit, actual } });
}
