// Owns: the messages that wait for ONE group of one topic: which may be handled now.
// Of the messages with one key only the oldest is handled, until it is gone: their order is that of publishing.
// Does not own: handling them, which node does (message-share.ts), the rows.
import { assert } from "../../../base/assert.ts";
import type { KeyText } from "../../../kvstore/core/key.ts";

export interface QueuedMessage {
  /** Key of its row. */
  readonly text: KeyText;
  readonly id: string;
  readonly partition: number;
  /** Messages with the same one keep their order. */
  readonly key: string;
  /** At which it was published. */
  readonly createRevision: number;
  readonly modRevision: number;
  readonly attempts: number;
  readonly payload: unknown;
  readonly bytes: number;
}

interface Lane {
  readonly key: string;
  readonly partition: number;
  /** Oldest first. */
  readonly messages: QueuedMessage[];
  /** Busy while its oldest message is handled, resting for a while after that has failed. */
  state: "ready" | "busy" | "resting";
}

export class TopicQueue {
  private readonly lanes = new Map<string, Lane>();
  private readonly byText = new Map<KeyText, QueuedMessage>();
  /** Of the partitions that are ours. */
  private ready = new Set<Lane>();
  private owns: (partition: number) => boolean = () => false;
  private bytesHeld = 0;

  get size(): number {
    return this.byText.size;
  }

  get bytes(): number {
    return this.bytesHeld;
  }

  messages(): IterableIterator<QueuedMessage> {
    return this.byText.values();
  }

  /** From now on only messages of these partitions are given out. */
  setShare(owns: (partition: number) => boolean): void {
    this.owns = owns;
    this.ready = new Set([...this.lanes.values()].filter((lane) => this.isReady(lane)));
  }

  /** A message that is there already has been tried once more, and keeps its place. */
  put(message: QueuedMessage): void {
    const known = this.byText.get(message.text);
    const keepsPlace = known?.key === message.key && known.createRevision === message.createRevision;
    if (!keepsPlace) this.remove(message.text);
    this.byText.set(message.text, message);
    this.bytesHeld += message.bytes - (keepsPlace ? known.bytes : 0);
    const lane = this.lanes.get(message.key) ?? this.addLane(message);
    if (keepsPlace) lane.messages[indexOf(lane.messages, message.text)] = message;
    else insert(lane.messages, message);
    this.update(lane);
  }

  remove(text: KeyText): void {
    const known = this.byText.get(text);
    if (known === undefined) return;
    this.byText.delete(text);
    this.bytesHeld -= known.bytes;
    const lane = this.lanes.get(known.key);
    if (lane === undefined) return;
    lane.messages.splice(indexOf(lane.messages, text), 1);
    this.update(lane);
  }

  /** The oldest message of some lane that is ready; its lane is busy from now on. */
  take(): QueuedMessage | undefined {
    for (const lane of this.ready) {
      lane.state = "busy";
      this.ready.delete(lane);
      return lane.messages[0];
    }
    return undefined;
  }

  /** What was taken has been dealt with, or has to wait: `resting` until it is set to `ready`. */
  settle({ key }: QueuedMessage, state: "ready" | "resting"): void {
    const lane = this.lanes.get(key);
    if (lane === undefined) return;
    lane.state = state;
    this.update(lane);
  }

  private addLane({ key, partition }: QueuedMessage): Lane {
    const lane: Lane = { key, partition, messages: [], state: "ready" };
    this.lanes.set(key, lane);
    return lane;
  }

  private update(lane: Lane): void {
    // One that is busy stays: who has it says when it is done.
    if (lane.messages.length === 0 && lane.state === "ready") this.lanes.delete(lane.key);
    if (this.isReady(lane)) this.ready.add(lane);
    else this.ready.delete(lane);
  }

  private isReady(lane: Lane): boolean {
    return lane.state === "ready" && lane.messages.length > 0 && this.owns(lane.partition);
  }
}

/** Found soon: it is nearly always the oldest that is tried again, or gone. */
function indexOf(messages: readonly QueuedMessage[], text: KeyText): number {
  const at = messages.findIndex((message) => message.text === text);
  assert(at >= 0, "a message that is known is in the lane of its key");
  return at;
}

/** Nearly always the youngest: thousands may wait under one key, and each is put here one by one. */
function insert(messages: QueuedMessage[], message: QueuedMessage): void {
  let at = messages.length;
  for (let before = messages[at - 1]; before !== undefined && byAge(message, before) < 0; before = messages[at - 1]) {
    at -= 1;
  }
  messages.splice(at, 0, message);
}

/** Of one transaction, in the order of their ids. */
function byAge(a: QueuedMessage, b: QueuedMessage): number {
  return a.createRevision - b.createRevision || (a.id < b.id ? -1 : 1);
}
