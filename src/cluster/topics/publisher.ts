// Owns: publishing: one row per group of the topic, all in one transaction.
// Every group that a topic has when a message is published gets it: the transaction compares the topic's row, which
// changes with the set of groups.
// Does not own: who handles the message, and the groups.
import { AetherError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { MiB } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { TopicMessageRow } from "../../slices/core/topic-row.ts";
import type { ServiceScope } from "../../slices/services/slice-services.ts";
import type { PublishedMessage, PublishingParts, TopicPublisher } from "../../slices/services/topic-service.ts";
import type { TopicMetrics } from "./metrics.ts";
import { partitionOf } from "./core/message-share.ts";
import type { TopicGroup, TopicView } from "./topic-view.ts";

export interface PublisherPorts {
  readonly kv: Pick<Kv, "get" | "transact">;
  readonly clock: Clock;
  readonly view: Pick<TopicView, "isComplete" | "topic">;
  readonly metrics: Pick<TopicMetrics, "published">;
}

/** Of one group, as the publisher's node sees it. */
export const WAITING_MESSAGES_MAX = 10_000;
export const WAITING_BYTES_MAX = 16 * MiB;
/** A node that does not see the newest groups yet looks again after this. */
const BEHIND_MS = 20;
const COUNTER_DIGITS = 12;

export class Publisher implements TopicPublisher {
  private readonly ports: PublisherPorts;
  /** Ids of this life of this node begin with it. */
  private readonly prefix: string;
  private published = 0;

  constructor(ports: PublisherPorts, life: { readonly node: NodeId; readonly incarnation: number }) {
    this.ports = ports;
    this.prefix = `${life.node}.${life.incarnation}.`;
  }

  async publish(message: PublishedMessage, scope: ServiceScope): Promise<void> {
    const { clock } = this.ports;
    const id = this.nextId();
    const endMs = clock.nowMs() + scope.timeoutMs;
    for (;;) {
      const timeoutMs = Math.max(0, endMs - clock.nowMs());
      if (await this.tryPublish(message, id, { ...scope, timeoutMs })) return this.notePublished([message]);
      if (clock.nowMs() + BEHIND_MS >= endMs) throw behind(message.topic);
      await clock.sleep(BEHIND_MS, scope.signal);
    }
  }

  parts(messages: readonly PublishedMessage[]): PublishingParts | undefined {
    if (!this.ports.view.isComplete) return undefined;
    const parts = messages.map((message) => this.partsOf(message, this.nextId()));
    // The messages of one topic compare the same row.
    const compare = new Map(parts.flatMap((one) => one.compare).map((guard) => [guard.key, guard]));
    return { compare: [...compare.values()], then: parts.flatMap(({ then }) => then) };
  }

  notePublished(messages: readonly PublishedMessage[]): void {
    for (const { topic } of messages) this.ports.metrics.published.add(1, { topic });
  }

  /** Of a message that is published through this node; each once. */
  nextId(): string {
    return this.prefix + String(++this.published).padStart(COUNTER_DIGITS, "0");
  }

  /** False when this node does not know the groups as they are now. */
  private async tryPublish(message: PublishedMessage, id: string, scope: ServiceScope): Promise<boolean> {
    const { kv, view } = this.ports;
    if (!view.isComplete) return false;
    const { compare, then } = this.partsOf(message, id);
    if (then.length > 0) return (await kv.transact({ compare, then, else: [] }, scope)).succeeded;
    const { entry } = await kv.get(markOf(message), scope);
    return (entry?.modRevision ?? 0) === view.topic(message.topic).modRevision;
  }

  private partsOf(message: PublishedMessage, id: string): PublishingParts {
    const { topic } = message;
    const { modRevision, groups } = this.ports.view.topic(topic);
    for (const group of groups) checkRoom(group, message);
    const key = message.key ?? id;
    const partition = partitionOf(key);
    const value: TopicMessageRow = { key, payload: message.payload, bytes: message.bytes, attempts: 0 };
    const then = groups.map(({ group }): Op =>
      ({ kind: "put", key: formatKey({ kind: "topic-message", topic, group, partition, id }), value }));
    return { compare: [unchanged(markOf(message), modRevision)], then };
  }
}

function markOf({ topic }: PublishedMessage): KeyText {
  return formatKey({ kind: "topic", topic });
}

function checkRoom({ topic, group, queue }: TopicGroup, { bytes }: PublishedMessage): void {
  if (queue.size < WAITING_MESSAGES_MAX && queue.bytes + bytes <= WAITING_BYTES_MAX) return;
  const message = `did not publish to ${topic}: ${queue.size} messages (${queue.bytes} bytes) wait for the slice ` +
    `${group}; look why it does not handle them`;
  const details = { group, limit: WAITING_MESSAGES_MAX, bytesMax: WAITING_BYTES_MAX };
  throw new AetherError("E_OVERLOADED", message, { details });
}

function behind(topic: string): AetherError {
  const message = `did not publish to ${topic}: this node has not seen who handles it now; try again`;
  return new AetherError("E_UNAVAILABLE", message);
}
