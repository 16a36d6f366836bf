// Owns: this node's live copy of topics: groups, and what waits for each.
// Does not own: the rows, and what is done about them.
import { unreachable } from "../../base/assert.ts";
import { toAetherError } from "../../base/errors.ts";
import { parseKey, prefixOf, formatKey, type AetherKey, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry } from "../../kvstore/core/schema.ts";
import { openKvView, type KvView } from "../../kvstore/kv-view.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { parseTopicGroupRow, parseTopicMessageRow, type TopicGroupRow } from "../../slices/core/topic-row.ts";
import { TopicQueue, type QueuedMessage } from "./core/topic-queue.ts";
import type { RowViewEnv } from "../row-view.ts";

/** A group, and what waits for it. */
export interface TopicGroup {
  readonly topic: string;
  readonly group: string;
  /** Undefined when the slice does not handle the topic (any more), or nobody can tell by which method. */
  readonly row: TopicGroupRow | undefined;
  readonly queue: TopicQueue;
  /** Rows of messages that were given up. */
  readonly dead: ReadonlySet<KeyText>;
}

interface MutableGroup extends TopicGroup {
  row: TopicGroupRow | undefined;
  hasRow: boolean;
  readonly dead: Set<KeyText>;
}

export class TopicView {
  private readonly env: RowViewEnv;
  private readonly kv: Kv;
  private readonly found = new Map<string, MutableGroup>();
  private readonly listeners: (() => void)[] = [];
  private view: KvView | undefined;

  constructor(env: RowViewEnv, kv: Kv) {
    this.env = env;
    this.kv = kv;
  }

  open(): void {
    const { clock, log } = this.env;
    const onChange = (changed: readonly KeyText[], view: KvView): void => this.take(changed, view);
    this.view ??= openKvView(this.kv, prefixOf({ kind: "topics" }), { clock, log, onChange });
  }

  async close(): Promise<void> {
    await this.view?.close();
  }

  get isComplete(): boolean {
    return this.view?.isLoaded ?? false;
  }

  groups(): readonly TopicGroup[] {
    return [...this.found.values()];
  }

  /** The groups of one topic that are there, and the revision that guards them: 0 when there are none. */
  topic(topic: string): { readonly modRevision: number; readonly groups: readonly TopicGroup[] } {
    const mark = this.view?.entries.get(formatKey({ kind: "topic", topic }));
    const groups = [...this.found.values()].filter((group) => group.topic === topic && group.hasRow);
    return { modRevision: mark?.modRevision ?? 0, groups };
  }

  /** Called after each change. */
  subscribe(listener: () => void): void {
    this.listeners.push(listener);
  }

  private take(changed: readonly KeyText[], view: KvView): void {
    for (const text of changed) {
      try {
        this.takeRow(parseKey(text), text, view.entries.get(text));
      } catch (error) {
        // One damaged row must not stop all topics; a person has to look at it.
        const { code, message } = toAetherError(error);
        this.env.log.error({ event: "cluster.bad-row", key: text, code, reason: message });
      }
    }
    for (const listener of this.listeners) listener();
  }

  private takeRow(key: AetherKey, text: KeyText, entry: KvEntry | undefined): void {
    if (key.kind !== "topic-group" && key.kind !== "topic-message" && key.kind !== "topic-dead") return;
    const group = this.group(key.topic, key.group);
    switch (key.kind) {
      case "topic-group":
        group.hasRow = entry !== undefined;
        group.row = undefined;
        if (entry !== undefined) group.row = parseTopicGroupRow(entry.value);
        break;
      case "topic-message":
        if (entry === undefined) group.queue.remove(text);
        else group.queue.put(queued(key, entry));
        break;
      case "topic-dead":
        if (entry === undefined) group.dead.delete(text);
        else group.dead.add(text);
        break;
      default:
        unreachable(key);
    }
    this.forgetIfEmpty(group);
  }

  private group(topic: string, group: string): MutableGroup {
    const label = `${topic}/${group}`;
    const known = this.found.get(label);
    if (known !== undefined) return known;
    const queue = new TopicQueue();
    const made: MutableGroup = { topic, group, row: undefined, hasRow: false, queue, dead: new Set() };
    this.found.set(label, made);
    return made;
  }

  private forgetIfEmpty({ topic, group, hasRow, queue, dead }: MutableGroup): void {
    if (!hasRow && queue.size === 0 && dead.size === 0) this.found.delete(`${topic}/${group}`);
  }
}

type MessageKey = Extract<AetherKey, { readonly kind: "topic-message" }>;

function queued({ id, partition }: MessageKey, entry: KvEntry): QueuedMessage {
  const { key: text, createRevision, modRevision, value } = entry;
  return { text, id, partition, createRevision, modRevision, ...parseTopicMessageRow(value) };
}
