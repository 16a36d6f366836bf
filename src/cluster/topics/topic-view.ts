// Owns: this node's live copy of topics: groups, and what waits for each.
// Does not own: the rows, who handles what while versions change (core/topic-handler.ts), what is done about it.
import { unreachable } from "../../base/assert.ts";
import { toAetherError } from "../../base/errors.ts";
import { knownKey, prefixOf, formatKey, type AetherKey, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry } from "../../kvstore/core/schema.ts";
import { openKvView, type KvView } from "../../kvstore/kv-view.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { parseTopicGroupRow, parseTopicMessageRow, type TopicGroupRow } from "../../slices/core/topic-row.ts";
import { handlerOf, isListening, type TopicHandler } from "./core/topic-handler.ts";
import { TopicQueue, type QueuedMessage } from "./core/topic-queue.ts";
import type { LeadingSlice, LeadingVersions } from "../rollouts/leading-versions.ts";
import type { RowViewEnv } from "../row-view.ts";

/** A group, and what waits for it. */
export interface TopicGroup {
  readonly topic: string;
  readonly group: string;
  readonly handler: TopicHandler;
  /** Whether the newest revision of its blueprint has it handle the topic. */
  readonly hasRow: boolean;
  /** The slice's version that leads; undefined while no blueprint has it. */
  readonly leading: LeadingSlice | undefined;
  readonly queue: TopicQueue;
  /** Rows of messages that were given up. */
  readonly dead: ReadonlySet<KeyText>;
}

interface MutableGroup extends TopicGroup {
  row: TopicGroupRow | "damaged" | undefined;
  handler: TopicHandler;
  hasRow: boolean;
  leading: LeadingSlice | undefined;
  readonly dead: Set<KeyText>;
}

export class TopicView {
  private readonly env: RowViewEnv;
  private readonly kv: Kv;
  private readonly leading: Pick<LeadingVersions, "isComplete" | "all">;
  private readonly found = new Map<string, MutableGroup>();
  /** Whether versions or groups have changed since the handlers were worked out. */
  private isStale = true;
  private readonly listeners: (() => void)[] = [];
  private view: KvView | undefined;

  constructor(env: RowViewEnv, kv: Kv, leading: Pick<LeadingVersions, "isComplete" | "all" | "subscribe">) {
    this.env = env;
    this.kv = kv;
    this.leading = leading;
    leading.subscribe(() => this.onVersions());
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
    return this.leading.isComplete && (this.view?.isLoaded ?? false);
  }

  groups(): readonly TopicGroup[] {
    this.workOutHandlers();
    return [...this.found.values()];
  }

  /** The groups of one topic that get its messages, and the revision that guards them: 0 when there are none. */
  topic(topic: string): { readonly modRevision: number; readonly groups: readonly TopicGroup[] } {
    const mark = this.view?.entries.get(formatKey({ kind: "topic", topic }));
    const groups = this.groups().filter((group) => group.topic === topic && isListening(group.handler));
    return { modRevision: mark?.modRevision ?? 0, groups };
  }

  /** Called after each change. */
  subscribe(listener: () => void): void {
    this.listeners.push(listener);
  }

  private onVersions(): void {
    this.isStale = true;
    for (const listener of this.listeners) listener();
  }

  private workOutHandlers(): void {
    if (!this.isStale) return;
    const leading = new Map(this.leading.all().map((one) => [one.slice, one]));
    for (const { slice, resolved: { topics = [] } } of leading.values()) {
      for (const { topic } of topics) this.group(topic, slice);
    }
    for (const group of this.found.values()) {
      group.leading = leading.get(group.group);
      group.handler = handlerOf(group);
      this.forgetIfEmpty(group);
    }
    this.isStale = false;
  }

  private take(changed: readonly KeyText[], view: KvView): void {
    for (const text of changed) {
      const key = knownKey(text);
      // Only a later build knows what it is.
      if (key === undefined) continue;
      try {
        this.takeRow(key, text, view.entries.get(text));
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
        this.isStale = true;
        group.hasRow = entry !== undefined;
        group.row = entry === undefined ? undefined : "damaged";
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
    const none = { row: undefined, handler: { kind: "none" }, hasRow: false, leading: undefined } as const;
    const made: MutableGroup = { topic, group, ...none, queue: new TopicQueue(), dead: new Set() };
    this.found.set(label, made);
    this.isStale = true;
    return made;
  }

  private forgetIfEmpty({ topic, group, handler, hasRow, queue, dead }: MutableGroup): void {
    const isUsed = hasRow || handler.kind === "handles" || queue.size > 0 || dead.size > 0;
    if (!isUsed) this.found.delete(`${topic}/${group}`);
  }
}

type MessageKey = Extract<AetherKey, { readonly kind: "topic-message" }>;

function queued({ id, partition }: MessageKey, entry: KvEntry): QueuedMessage {
  const { key: text, createRevision, modRevision, value } = entry;
  return { text, id, partition, createRevision, modRevision, ...parseTopicMessageRow(value) };
}
