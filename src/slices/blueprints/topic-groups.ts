// Owns: which rows `topics/{topic}/groups/…` a blueprint takes, keeps and gives back, as parts of the transaction that
// writes it. Whoever changes the groups of a topic writes `topics/{topic}` too: a publisher compares that row, so that
// no message misses a group that was there before it.
// Does not own: that transaction, messages.
import { AetherError } from "../../base/errors.ts";
import type { CallOptions } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, KvEntry, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { ResolvedBlueprint } from "../core/blueprint.ts";
import { isSameData } from "../core/canonical.ts";
import { readUndamaged } from "../core/damaged-row.ts";
import { parseTopicGroupRow, type TopicGroupRow } from "../core/topic-row.ts";

interface TopicParts {
  readonly compare: readonly Compare[];
  readonly then: readonly Op[];
}

/** Slices that get the messages of one topic: each gets a copy of every message, in the publisher's transaction. */
export const GROUPS_MAX = 12;

/** Gives the blueprint's slices their topics, and takes away those that they do not have any more. */
export async function claimTopics(kv: Kv, blueprint: ResolvedBlueprint, options: CallOptions): Promise<TopicParts> {
  return partsOf(await readTopics(kv, options), blueprint.name, wantedOf(blueprint));
}

/** Takes all topics away from the slices of a blueprint. */
export async function releaseTopics(kv: Kv, blueprint: string, options: CallOptions): Promise<TopicParts> {
  return partsOf(await readTopics(kv, options), blueprint, new Map());
}

interface TopicRows {
  /** modRevisions of the rows `topics/{topic}`. */
  readonly marks: ReadonlyMap<string, number>;
  readonly groups: ReadonlyMap<KeyText, FoundGroup>;
}

interface FoundGroup {
  readonly topic: string;
  readonly row: TopicGroupRow | undefined;
}

interface WantedGroup {
  readonly topic: string;
  readonly row: TopicGroupRow;
}

function partsOf(rows: TopicRows, blueprint: string, wanted: ReadonlyMap<KeyText, WantedGroup>): TopicParts {
  const changed = new Set<string>();
  const then: Op[] = [];
  const counts = countGroups(rows);
  for (const [key, { topic, row }] of wanted) {
    const found = rows.groups.get(key);
    if (found?.row !== undefined && isSameData(found.row, row)) continue;
    if (found === undefined) counts.set(topic, (counts.get(topic) ?? 0) + 1);
    changed.add(topic);
    then.push({ kind: "put", key, value: row });
  }
  for (const [key, { topic, row }] of rows.groups) {
    if (row?.blueprint !== blueprint || wanted.has(key)) continue;
    counts.set(topic, (counts.get(topic) ?? 0) - 1);
    changed.add(topic);
    then.push({ kind: "delete", key });
  }
  const compare = [...changed].map((topic) => unchanged(markKey(topic), rows.marks.get(topic) ?? 0));
  for (const topic of changed) {
    const count = counts.get(topic) ?? 0;
    if (count > GROUPS_MAX) throw tooMany(topic, count);
    then.push(count === 0 ? { kind: "delete", key: markKey(topic) } : { kind: "put", key: markKey(topic), value: {} });
  }
  return { compare, then };
}

/** Messages stand between the groups of one topic and the next: they are passed over, however many there are. */
async function readTopics(kv: Kv, options: CallOptions): Promise<TopicRows> {
  const marks = new Map<string, number>();
  const groups = new Map<KeyText, FoundGroup>();
  let place: { readonly after?: string } = {};
  for (;;) {
    const { entries, more } = await kv.list({ prefix: TOPICS, limit: PAGE_ENTRIES, ...place }, options);
    for (const entry of entries) {
      const parsed = knownKey(entry.key);
      if (parsed?.kind === "topic") marks.set(parsed.topic, entry.modRevision);
      if (parsed?.kind === "topic-group") groups.set(entry.key, { topic: parsed.topic, row: readRow(entry) });
    }
    const last = entries.at(-1);
    if (!more || last === undefined) return { marks, groups };
    place = { after: behind(last.key) };
  }
}

/** A page of nothing but messages would be of no use: so few that it does not matter. */
const PAGE_ENTRIES = 50;
const TOPICS = prefixOf({ kind: "topics" });

/** Where to go on: behind all messages of its sort, if it is one. */
function behind(key: KeyText): string {
  const parsed = knownKey(key);
  if (parsed?.kind !== "topic-message" && parsed?.kind !== "topic-dead") return key;
  const set = parsed.kind === "topic-dead" ? "dead" : "waiting";
  // "0" is the character after "/".
  return `${prefixOf({ kind: "topics", topic: parsed.topic })}${set}0`;
}

function wantedOf({ name, slices }: ResolvedBlueprint): ReadonlyMap<KeyText, WantedGroup> {
  return new Map(Object.entries(slices).flatMap(([group, { topics = [] }]) => topics.map(({ topic, method }) => {
    const key = formatKey({ kind: "topic-group", topic, group });
    return [key, { topic, row: { blueprint: name, method } }] as const;
  })));
}

function countGroups({ groups }: TopicRows): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { topic } of groups.values()) counts.set(topic, (counts.get(topic) ?? 0) + 1);
  return counts;
}

function markKey(topic: string): KeyText {
  return formatKey({ kind: "topic", topic });
}

/** Undefined when it is damaged: the blueprint that wants it writes it anew. */
function readRow({ value }: KvEntry): TopicGroupRow | undefined {
  return readUndamaged(() => parseTopicGroupRow(value));
}

function tooMany(topic: string, actual: number): AetherError {
  const message = `topic "${topic}" would have ${actual} slices that handle it, the limit is ${GROUPS_MAX}`;
  return new AetherError("E_TOO_LARGE", message, { details: { topic, limit: GROUPS_MAX, actual } });
}
