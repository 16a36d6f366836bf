// Owns: what people see of topics and do about messages that were put aside: list, try anew, drop.
// Does not own: handing out (topic-delivery.ts), the rows of groups.
import { AetherError } from "../../base/errors.ts";
import { formatKey, knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import type { KvEntry, Op } from "../../kvstore/core/schema.ts";
import type { Kv, KvCallOptions } from "../../kvstore/kv.ts";
import { parseDeadMessageRow, type DeadMessageRow, type TopicMessageRow } from "../../slices/core/topic-row.ts";
import { listRows } from "../../slices/list-rows.ts";
import { partitionOf } from "./core/message-share.ts";
import type { TopicView } from "./topic-view.ts";

export interface TopicAdminPorts {
  readonly kv: Kv;
  readonly view: Pick<TopicView, "isComplete" | "groups">;
  /** The id of a message that is published anew: its attempts have keys of their own. */
  nextId(): string;
}

export interface TopicSummary {
  readonly topic: string;
  readonly groups: readonly TopicGroupSummary[];
}

export interface TopicGroupSummary {
  /** The slice. */
  readonly group: string;
  /** Undefined when the slice does not handle the topic (any more), in the version that leads. */
  readonly method: string | undefined;
  readonly waiting: number;
  readonly waitingBytes: number;
  readonly dead: number;
}

export interface DeadMessage {
  readonly group: string;
  readonly id: string;
  readonly key: string;
  readonly payload: unknown;
  readonly attempts: number;
  readonly error: { readonly code: string; readonly message: string };
}

/** Which of the messages of a topic that were put aside; all of them when nothing is said. */
export interface DeadChoice {
  readonly group?: string | undefined;
  readonly id?: string | undefined;
}

/** Of one transaction: the payloads of so many fit, and a deletion for each. */
const MOVED_AT_ONCE = 8;

export class TopicAdmin {
  private readonly ports: TopicAdminPorts;

  constructor(ports: TopicAdminPorts) {
    this.ports = ports;
  }

  /** As this node sees it. @throws AetherError E_UNAVAILABLE while it has not read them */
  list(): readonly TopicSummary[] {
    const { view } = this.ports;
    if (!view.isComplete) throw new AetherError("E_UNAVAILABLE", "this node has not read the topics yet: ask again");
    const topics = new Map<string, TopicGroupSummary[]>();
    for (const { topic, group, handler, queue, dead } of view.groups()) {
      const known = topics.get(topic) ?? [];
      topics.set(topic, known);
      const method = handler.kind === "handles" ? handler.method : undefined;
      known.push({ group, method, waiting: queue.size, waitingBytes: queue.bytes, dead: dead.size });
    }
    return [...topics].sort(([a], [b]) => (a < b ? -1 : 1)).map(([topic, groups]) =>
      ({ topic, groups: groups.sort((a, b) => (a.group < b.group ? -1 : 1)) }));
  }

  /** What was put aside, oldest first of each group. */
  async dead(topic: string, choice: DeadChoice, options: KvCallOptions = {}): Promise<readonly DeadMessage[]> {
    const found = await this.find(topic, choice, options);
    return found.map(({ group, id, row: { key, payload, attempts, error } }) =>
      ({ group, id, key, payload, attempts, error }));
  }

  /**
   * Publishes them anew, to the slice that could not handle them: behind what waits for it now. Returns how many.
   * @throws AetherError E_NOT_FOUND when the slice does not handle the topic any more
   */
  async retry(topic: string, choice: DeadChoice, options: KvCallOptions = {}): Promise<number> {
    return await this.inPieces(topic, choice, options, ({ group, text, row: { key, payload, bytes } }) => {
      const id = this.ports.nextId();
      const waiting = formatKey({ kind: "topic-message", topic, group, partition: partitionOf(key), id });
      const value: TopicMessageRow = { key, payload, bytes, attempts: 0 };
      return [{ kind: "put", key: waiting, value }, { kind: "delete", key: text }];
    });
  }

  /** Deletes them for good. Returns how many. */
  async drop(topic: string, choice: DeadChoice, options: KvCallOptions = {}): Promise<number> {
    return await this.inPieces(topic, choice, options, ({ text }) => [{ kind: "delete", key: text }]);
  }

  private async inPieces(
    topic: string, choice: DeadChoice, options: KvCallOptions, opsOf: (message: FoundMessage) => readonly Op[],
  ): Promise<number> {
    const found = await this.find(topic, choice, options);
    let done = 0;
    for (let at = 0; at < found.length; at += MOVED_AT_ONCE) {
      options.signal?.throwIfAborted();
      const piece = found.slice(at, at + MOVED_AT_ONCE);
      const then = piece.flatMap(opsOf);
      const groups = then.some(({ kind }) => kind === "put") ? new Set(piece.map(({ group }) => group)) : [];
      const compare = [
        ...piece.map(({ text, modRevision }) => unchanged(text, modRevision)),
        ...[...groups].filter((group) => !this.isOfEarlierVersion(topic, group)).map((group) =>
          ({ key: formatKey({ kind: "topic-group", topic, group }), target: "exists", op: "=", value: true }) as const),
      ];
      const { succeeded } = await this.ports.kv.transact({ compare, then, else: [] }, options);
      if (!succeeded) throw changed(topic, done, await this.handledGroups(topic, groups, options));
      done += piece.length;
    }
    return done;
  }

  /** The blueprint's newest revision does not have it handle the topic, but another version of it leads that does. */
  private isOfEarlierVersion(topic: string, group: string): boolean {
    const found = this.ports.view.groups().find((one) => one.topic === topic && one.group === group);
    return found !== undefined && !found.hasRow && found.handler.kind === "handles";
  }

  private async handledGroups(
    topic: string, groups: Iterable<string>, options: KvCallOptions,
  ): Promise<readonly string[]> {
    const missing: string[] = [];
    for (const group of groups) {
      const { entry } = await this.ports.kv.get(formatKey({ kind: "topic-group", topic, group }), options);
      if (entry === undefined) missing.push(group);
    }
    return missing;
  }

  private async find(topic: string, choice: DeadChoice, options: KvCallOptions): Promise<readonly FoundMessage[]> {
    const prefix = `${prefixOf({ kind: "topics", topic })}dead/`;
    const messages = (await listRows(this.ports.kv, prefix, options)).flatMap(readMessage);
    return messages.filter(({ group, id }) =>
      (choice.group ?? group) === group && (choice.id ?? id) === id);
  }
}

interface FoundMessage {
  readonly text: KeyText;
  readonly modRevision: number;
  readonly group: string;
  readonly id: string;
  readonly row: DeadMessageRow;
}

/** One that is damaged is left where it is: the nodes have said it in their logs. */
function readMessage({ key: text, modRevision, value }: KvEntry): readonly FoundMessage[] {
  const key = knownKey(text);
  if (key?.kind !== "topic-dead") return [];
  const row = parseDeadMessageRow(value);
  return row === undefined ? [] : [{ text, modRevision, group: key.group, id: key.id, row }];
}

function changed(topic: string, done: number, missing: readonly string[]): AetherError {
  const before = done === 0 ? "" : ` (${done} were done before)`;
  if (missing.length > 0) {
    const found = `${missing.join(", ")} does not handle the topic ${topic} any more`;
    const details = { topic, groups: missing, done };
    return new AetherError("E_NOT_FOUND", `${found}: drop its messages instead${before}`, { details });
  }
  const message = `messages of ${topic} changed while they were read and written: look at them again${before}`;
  return new AetherError("E_CONFLICT", message, { details: { topic, done } });
}
