// Owns: `ctx.publish` inside the worker: the payload checked by the topic's own schema, its key, the request.
// Does not own: what becomes of the message (services/topic-service.ts).
import { AetherError } from "../../base/errors.ts";
import type { StateCallOptions } from "../../sdk/slice-state.ts";
import { checkValue } from "../schema-check.ts";
import type { SchemaShape } from "./slice-module.ts";
import type { CallerScope } from "./worker-outgoing.ts";
import type { ServiceClient } from "./service-client.ts";

/** What we use of a topic; each bundle has its own copy of the SDK. */
export interface TopicShape {
  readonly name: string;
  readonly payload: SchemaShape;
  key?(payload: unknown): string;
}

export interface PublishRequest {
  readonly topic: TopicShape;
  readonly payload: unknown;
  readonly options: StateCallOptions;
}

/** A message as it goes to the node. @throws AetherError E_INVALID for a payload that the topic does not allow */
export async function checkedMessage(topic: TopicShape, payload: unknown): Promise<Readonly<Record<string, unknown>>> {
  const checked = await checkValue(topic.payload, payload);
  if (checked.kind === "invalid") {
    const message = `did not publish to ${topic.name}: the payload is invalid: ${checked.text}`;
    throw new AetherError("E_INVALID", message, { details: checked.details });
  }
  const key = topic.key?.(checked.data);
  // The unparsed payload travels: who handles it parses it, and may be newer than the schema known here.
  return { topic: topic.name, payload, ...(key === undefined ? {} : { key }) };
}

/** @throws AetherError E_INVALID for a payload that the topic does not allow */
export async function publish(
  client: ServiceClient, { topic, payload, options }: PublishRequest, scope: CallerScope,
): Promise<void> {
  const args = await checkedMessage(topic, payload);
  const what = `publishing to ${topic.name}`;
  await client.request({ what, service: "topics", op: "publish", args, effect: "write", ...options }, scope);
}
