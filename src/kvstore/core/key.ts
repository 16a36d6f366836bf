// Owns: the structured keys of the store: their types, their one text form, prefixes and patterns.
// Does not own: what is stored under them, and who may write it.
//
// Nothing builds a key from strings by hand. Every key has exactly one text: `parseKey(formatKey(key))` is `key` and
// `formatKey(parseKey(text))` is `text`; names are escaped, so that no value can forge a segment.
import { unreachable } from "../../base/assert.ts";
import { AetherError } from "../../base/errors.ts";
import {
  parseArtifactId,
  parseDigest,
  parseNodeId,
  type ArtifactId,
  type Digest,
  type NodeId,
} from "../../base/ids.ts";
import {
  isJobKey, isJobKeyPrefix, jobKeyOf, jobKeyText, jobPrefixText, type JobKey, type JobKeyPrefix,
} from "./job-key.ts";
import { badKey, escapeName, nameOf, numberOf, padded, UNPRINTABLE } from "./key-parts.ts";
import { checkLimit } from "./limits.ts";

/** The text of a valid key. Only `formatKey` and `parseKeyText` make it. */
export type KeyText = string & { readonly brand: "KeyText" };

/** One key of the store, by its kind. Names, slices, methods and keys of calls may be any text; they are escaped. */
export type AetherKey =
  | { readonly kind: "config" }
  /** Random bits that tell this cluster from every other, also one of the same name. A backup carries it. */
  | { readonly kind: "cluster-uid" }
  | { readonly kind: "node-intent"; readonly node: NodeId }
  | { readonly kind: "node-state"; readonly node: NodeId }
  /** Epoch and holder. It changes only with the epoch, so comparing its modRevision fences exactly. */
  | { readonly kind: "leader" }
  /** The holder's sign of life, apart from `leader` because it changes all the time. */
  | { readonly kind: "leader-beat" }
  | { readonly kind: "artifact"; readonly artifact: ArtifactId }
  | { readonly kind: "blob"; readonly digest: Digest; readonly chunk: number }
  | { readonly kind: "blueprint"; readonly name: string; readonly revision: number }
  | { readonly kind: "blueprint-current"; readonly name: string }
  /** How a slice of a blueprint gets from one version to another. */
  | { readonly kind: "rollout"; readonly blueprint: string; readonly slice: string }
  /** The blueprint that has this slice: a slice name belongs to one blueprint. */
  | { readonly kind: "slice-owner"; readonly slice: string }
  /** How many instances a slice has while that is not what its blueprint says. */
  | { readonly kind: "scale"; readonly slice: string }
  /** The rules by which slices are scaled. */
  | { readonly kind: "control-rules" }
  /** There while nothing is scaled. */
  | { readonly kind: "control-pause" }
  /** There while this slice is not scaled. */
  | { readonly kind: "control-pin"; readonly slice: string }
  /** The slice that answers an HTTP route: `GET /shop/orders/:`, without the names of its parameters. */
  | { readonly kind: "route"; readonly route: string }
  /** How far a schedule of a slice has come, and how its last tick ended. */
  | { readonly kind: "schedule"; readonly slice: string; readonly name: string }
  /** The same of a schedule of an agent that a slice brings along. */
  | { readonly kind: "agent-schedule"; readonly slice: string; readonly agent: string; readonly name: string }
  /** What became of the calls with one idempotency key. */
  | { readonly kind: "call"; readonly slice: string; readonly method: string; readonly key: string }
  /** Who holds a lease of a slice, for as long as it is held. Its modRevision is the fencing token. */
  | { readonly kind: "slice-lease"; readonly slice: string; readonly name: string }
  /** Changes with the set of a topic's groups: comparing its modRevision guards what was decided from that set. */
  | { readonly kind: "topic"; readonly topic: string }
  /** A slice that gets what is published to a topic. */
  | { readonly kind: "topic-group"; readonly topic: string; readonly group: string }
  /** A message that a group has not handled yet. Messages with the same key are in the same partition. */
  | {
      readonly kind: "topic-message";
      readonly topic: string;
      readonly group: string;
      readonly partition: number;
      readonly id: string;
    }
  /** A message that a group was given too often. */
  | { readonly kind: "topic-dead"; readonly topic: string; readonly group: string; readonly id: string }
  | { readonly kind: "slice"; readonly node: NodeId; readonly artifact: ArtifactId; readonly instance: number }
  | {
      readonly kind: "endpoint";
      readonly slice: string;
      readonly method: string;
      readonly node: NodeId;
      readonly artifact: ArtifactId;
      readonly instance: number;
    }
  | JobKey
  /** A user's key: `path` is one or more segments joined by "/", taken as they are. */
  | { readonly kind: "data"; readonly path: string };

/** The sets of keys that areas list and watch. Absent parts mean "all of them". */
export type KeyPrefix =
  | { readonly kind: "nodes"; readonly node?: NodeId }
  /** Both `leader` and `leader/beat`. */
  | { readonly kind: "leader" }
  | { readonly kind: "artifacts" }
  | { readonly kind: "blobs"; readonly digest?: Digest }
  | { readonly kind: "blueprints"; readonly name?: string }
  | { readonly kind: "rollouts"; readonly blueprint?: string }
  | { readonly kind: "scales" }
  /** Rules, pause and pins. */
  | { readonly kind: "control" }
  | { readonly kind: "routes" }
  | { readonly kind: "slice-owners" }
  | { readonly kind: "schedules" }
  | { readonly kind: "agent-schedules" }
  | { readonly kind: "calls" }
  | { readonly kind: "slice-leases"; readonly slice?: string }
  | { readonly kind: "topics"; readonly topic?: string }
  | { readonly kind: "slices"; readonly node?: NodeId }
  | { readonly kind: "endpoints"; readonly slice?: string }
  | JobKeyPrefix
  | { readonly kind: "data"; readonly path?: string };

/** Longest key in UTF-8 bytes. */
export const KEY_BYTES_MAX = 512;
/** The one key that can never be deleted: a lost epoch would start again at 1 and unfence old holders. */
export const LEADER_KEY: KeyText = "leader" as KeyText;

const REVISION_DIGITS = 10;
const CHUNK_DIGITS = 6;
const PARTITION_DIGITS = 2;
const INSTANCE_MAX = 99_999;

const PLAIN_DATA_KEY = /^data(?:\/[A-Za-z0-9_-][A-Za-z0-9_:.-]*)+$/;

/**
 * The text of `key`.
 * @throws AetherError E_INVALID when a part is empty or out of range; E_TOO_LARGE above 512 bytes.
 */
export function formatKey(key: AetherKey): KeyText {
  const text = textOf(key);
  checkLimit("bytes of a key", KEY_BYTES_MAX, utf8Bytes(text));
  return text as KeyText;
}

function textOf(key: AetherKey): string {
  if (isJobKey(key)) return jobKeyText(key);
  switch (key.kind) {
    case "config":
      return "cluster/config";
    case "cluster-uid":
      return "cluster/uid";
    case "node-intent":
      return `nodes/${key.node}/intent`;
    case "node-state":
      return `nodes/${key.node}/state`;
    case "leader":
      return LEADER_KEY;
    case "leader-beat":
      return "leader/beat";
    case "artifact":
      return `artifacts/${key.artifact}`;
    case "blob":
      return `blobs/${key.digest}/${padded(key.chunk, CHUNK_DIGITS)}`;
    case "blueprint":
      return `blueprints/${escapeName(key.name)}/${padded(key.revision, REVISION_DIGITS)}`;
    case "blueprint-current":
      return `blueprints/${escapeName(key.name)}/current`;
    case "rollout":
      return `rollouts/${escapeName(key.blueprint)}/${escapeName(key.slice)}`;
    case "slice-owner":
      return `slice-owners/${escapeName(key.slice)}`;
    case "scale":
      return `scales/${escapeName(key.slice)}`;
    case "control-rules":
      return "control/rules";
    case "control-pause":
      return "control/pause";
    case "control-pin":
      return `control/pins/${escapeName(key.slice)}`;
    case "route":
      return `routes/${escapeName(key.route)}`;
    case "schedule":
      return `schedules/${escapeName(key.slice)}/${escapeName(key.name)}`;
    case "agent-schedule":
      return `agent-schedules/${escapeName(key.slice)}/${escapeName(key.agent)}/${escapeName(key.name)}`;
    case "call":
      return `calls/${escapeName(key.slice)}/${escapeName(key.method)}/${escapeName(key.key)}`;
    case "slice-lease":
      return `leases/${escapeName(key.slice)}/${escapeName(key.name)}`;
    case "topic":
    case "topic-group":
    case "topic-message":
    case "topic-dead":
      return topicText(key);
    case "slice":
      return `slices/${key.node}/${key.artifact}/${instanceText(key.instance)}`;
    case "endpoint": {
      const method = `endpoints/${escapeName(key.slice)}/${escapeName(key.method)}`;
      return `${method}/${key.node}/${key.artifact}/${instanceText(key.instance)}`;
    }
    case "data":
      return `data/${checkedPath(key.path)}`;
    default:
      return unreachable(key);
  }
}

type TopicKey = Extract<AetherKey, { readonly kind: `topic${string}` }>;

function topicText(key: TopicKey): string {
  const topic = `topics/${escapeName(key.topic)}`;
  switch (key.kind) {
    case "topic":
      return topic;
    case "topic-group":
      return `${topic}/groups/${escapeName(key.group)}`;
    case "topic-message": {
      const partition = padded(key.partition, PARTITION_DIGITS);
      return `${topic}/waiting/${escapeName(key.group)}/${partition}/${escapeName(key.id)}`;
    }
    case "topic-dead":
      return `${topic}/dead/${escapeName(key.group)}/${escapeName(key.id)}`;
    default:
      return unreachable(key);
  }
}

/**
 * Reads a key's text.
 * @throws AetherError E_INVALID for an unknown prefix, a bad or empty segment; E_TOO_LARGE above 512 bytes.
 */
export function parseKey(text: string): AetherKey {
  checkLimit("bytes of a key", KEY_BYTES_MAX, utf8Bytes(text));
  const segments = text.split("/");
  const key = keyOf(text, segments);
  // One key, one text: refuses `%41`, missing padding and every other way of writing the same key twice.
  if (textOf(key) !== text) throw badKey(text, `it is not in its one form, which is "${textOf(key)}"`);
  return key;
}

/**
 * Undefined for a key of no kind that this build knows: while versions are mixed, a later build may write such beside
 * those that are known.
 */
export function knownKey(text: string): AetherKey | undefined {
  try {
    return parseKey(text);
  } catch (error) {
    if (error instanceof AetherError) return undefined;
    throw error;
  }
}

/** The text itself, once it is known to be a key. Cheaper than `parseKey` for plain user keys. */
export function parseKeyText(text: string): KeyText {
  // The expression allows only ASCII, so the length is in bytes.
  if (text.length > KEY_BYTES_MAX || !PLAIN_DATA_KEY.test(text)) parseKey(text);
  return text as KeyText;
}

function keyOf(text: string, segments: readonly string[]): AetherKey {
  const [root = "", a = "", b = "", c = "", d = "", e = ""] = segments;
  if (root === "data") return { kind: "data", path: checkedPath(text.slice("data/".length)) };
  if (segments.includes("")) throw badKey(text, "it has an empty segment");
  const jobKey = jobKeyOf(text, segments);
  if (jobKey !== undefined) return jobKey;
  // Kinds by first segment and number of segments; what the parts must be is checked by their own parsers.
  switch (`${root}/${segments.length}`) {
    case "cluster/2":
      if (a === "config") return { kind: "config" };
      if (a === "uid") return { kind: "cluster-uid" };
      break;
    case "nodes/3":
      if (b === "intent") return { kind: "node-intent", node: parseNodeId(a) };
      if (b === "state") return { kind: "node-state", node: parseNodeId(a) };
      break;
    case "leader/1":
      return { kind: "leader" };
    case "leader/2":
      if (a === "beat") return { kind: "leader-beat" };
      break;
    case "artifacts/2":
      return { kind: "artifact", artifact: parseArtifactId(a) };
    case "blobs/3":
      return { kind: "blob", digest: parseDigest(a), chunk: numberOf(text, b) };
    case "blueprints/3":
      if (b === "current") return { kind: "blueprint-current", name: nameOf(text, a) };
      return { kind: "blueprint", name: nameOf(text, a), revision: numberOf(text, b) };
    case "rollouts/3":
      return { kind: "rollout", blueprint: nameOf(text, a), slice: nameOf(text, b) };
    case "slice-owners/2":
      return { kind: "slice-owner", slice: nameOf(text, a) };
    case "scales/2":
      return { kind: "scale", slice: nameOf(text, a) };
    case "control/2":
      if (a === "rules") return { kind: "control-rules" };
      if (a === "pause") return { kind: "control-pause" };
      break;
    case "control/3":
      if (a === "pins") return { kind: "control-pin", slice: nameOf(text, b) };
      break;
    case "routes/2":
      return { kind: "route", route: nameOf(text, a) };
    case "schedules/3":
      return { kind: "schedule", slice: nameOf(text, a), name: nameOf(text, b) };
    case "agent-schedules/4":
      return { kind: "agent-schedule", slice: nameOf(text, a), agent: nameOf(text, b), name: nameOf(text, c) };
    case "calls/4":
      return { kind: "call", slice: nameOf(text, a), method: nameOf(text, b), key: nameOf(text, c) };
    case "leases/3":
      return { kind: "slice-lease", slice: nameOf(text, a), name: nameOf(text, b) };
    case "topics/2":
    case "topics/4":
    case "topics/5":
    case "topics/6": {
      const key = topicKeyOf(text, segments);
      if (key !== undefined) return key;
      break;
    }
    case "slices/4":
      return { kind: "slice", node: parseNodeId(a), artifact: parseArtifactId(b), instance: numberOf(text, c) };
    case "endpoints/6":
      return {
        kind: "endpoint",
        slice: nameOf(text, a),
        method: nameOf(text, b),
        node: parseNodeId(c),
        artifact: parseArtifactId(d),
        instance: numberOf(text, e),
      };
  }
  throw badKey(text, "no kind of key looks like this; keys of your own begin with data/");
}

function topicKeyOf(text: string, segments: readonly string[]): TopicKey | undefined {
  const [, name = "", set = "", group = "", c = "", d = ""] = segments;
  const topic = nameOf(text, name);
  switch (`${set}/${segments.length}`) {
    case "/2":
      return { kind: "topic", topic };
    case "groups/4":
      return { kind: "topic-group", topic, group: nameOf(text, group) };
    case "dead/5":
      return { kind: "topic-dead", topic, group: nameOf(text, group), id: nameOf(text, c) };
    case "waiting/6": {
      const id = nameOf(text, d);
      return { kind: "topic-message", topic, group: nameOf(text, group), partition: numberOf(text, c), id };
    }
    default:
      return undefined;
  }
}

/** The text with which every key of the set begins, and no other key. */
export function prefixOf(prefix: KeyPrefix): string {
  if (isJobKeyPrefix(prefix)) return jobPrefixText(prefix);
  switch (prefix.kind) {
    case "nodes":
      return `nodes/${part(prefix.node)}`;
    case "leader":
      return LEADER_KEY;
    case "artifacts":
      return "artifacts/";
    case "blobs":
      return `blobs/${part(prefix.digest)}`;
    case "blueprints":
      return `blueprints/${namePart(prefix.name)}`;
    case "rollouts":
      return `rollouts/${namePart(prefix.blueprint)}`;
    case "scales":
      return "scales/";
    case "control":
      return "control/";
    case "routes":
      return "routes/";
    case "slice-owners":
      return "slice-owners/";
    case "schedules":
      return "schedules/";
    case "agent-schedules":
      return "agent-schedules/";
    case "calls":
      return "calls/";
    case "slice-leases":
      return `leases/${namePart(prefix.slice)}`;
    case "topics":
      return `topics/${namePart(prefix.topic)}`;
    case "slices":
      return `slices/${part(prefix.node)}`;
    case "endpoints":
      return `endpoints/${namePart(prefix.slice)}`;
    case "data":
      return prefix.path === undefined ? "data/" : `data/${checkedPath(prefix.path)}/`;
    default:
      return unreachable(prefix);
  }
}

/**
 * Whether `key` has the shape of `pattern`, for example `slices/*\/g:n:1.0.0/*` or `endpoints/orders/**`:
 * `*` stands for one segment, a last `**` for one or more.
 */
export function matchPattern(pattern: string, key: KeyText): boolean {
  const wanted = pattern.split("/");
  const found = key.split("/");
  const isOpen = wanted.at(-1) === "**";
  if (isOpen ? found.length < wanted.length : found.length !== wanted.length) return false;
  const fixed = isOpen ? wanted.slice(0, -1) : wanted;
  return fixed.every((segment, index) => segment === "*" || segment === found[index]);
}

/** Order of keys: bytewise over UTF-8, as the disk has it. Differs from `<` on strings beyond U+FFFF only. */
export function compareKeyText(a: KeyText, b: KeyText): number {
  const shared = Math.min(a.length, b.length);
  for (let index = 0; index < shared; index++) {
    const x = a.charCodeAt(index);
    const y = b.charCodeAt(index);
    if (x !== y) return byteRank(x) - byteRank(y);
  }
  return a.length - b.length;
}

/** Bytes of `text` in UTF-8. */
export function utf8Bytes(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    // A surrogate pair is two units and four bytes: two for each half.
    if (unit >= 0x80) bytes += unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

// Surrogates stand for characters above U+FFFF, so they rank behind U+E000..U+FFFF.
function byteRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}

function part(text: string | undefined): string {
  return text === undefined ? "" : `${text}/`;
}

function namePart(name: string | undefined): string {
  return name === undefined ? "" : `${escapeName(name)}/`;
}

function checkedPath(path: string): string {
  if (UNPRINTABLE.test(path)) throw badKey(`data/${path}`, "it has unprintable characters");
  for (const segment of path.split("/")) {
    if (segment === "") throw badKey(`data/${path}`, "it has an empty segment");
    // Paths of URLs lose these segments on the way.
    if (segment === "." || segment === "..") throw badKey(`data/${path}`, `it has a segment "${segment}"`);
  }
  return path;
}

function instanceText(instance: number): string {
  if (!Number.isSafeInteger(instance) || instance < 0 || instance > INSTANCE_MAX) {
    throw new AetherError("E_INVALID", `${instance} is not an instance index: use 0 to ${INSTANCE_MAX}`);
  }
  return String(instance);
}
