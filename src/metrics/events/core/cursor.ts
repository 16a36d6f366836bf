// Owns: how far somebody has read the events, in a form that any node understands.
// E1  Who goes on with a cursor, on this node or another one, misses no event that is held there and gets none twice.
//
// Events of the store are in one order, so one place says which of them were seen. What nodes say by themselves has
// no common order: of each node the last one that was seen is named, and nothing was seen of one that is not named.
// What leaders say has an order again: by epoch, then by number.
import { unreachable } from "../../../base/assert.ts";
import { AetherError } from "../../../base/errors.ts";
import { parseNodeId, type NodeId } from "../../../base/ids.ts";
import type { EventPlace, LeaderPlace, StorePlace } from "./event.ts";

export interface Cursor {
  readonly store: Pick<StorePlace, "revision" | "index">;
  readonly nodes: ReadonlyMap<NodeId, { readonly incarnation: number; readonly seq: number }>;
  /** Undefined: nothing that a leader said was seen. */
  readonly leader?: Pick<LeaderPlace, "epoch" | "seq">;
}

/** Index of a place after all events of its revision. */
export const INDEX_LAST = 9_999;

const CURSOR_CHARS_MAX = 4_096;
const STORE = /^(\d{1,15})\.(\d{1,4})$/;
const LEADER = /^@(\d{1,15})\.(\d{1,15})$/;
const NODE = /^([a-z0-9-]{1,32})\.(\d{1,10})\.(\d{1,10})$/;

export function isAfter(place: EventPlace, cursor: Cursor): boolean {
  switch (place.kind) {
    case "store":
      return compareStore(place, cursor.store) > 0;
    case "leader": {
      const { epoch, seq } = cursor.leader ?? { epoch: 0, seq: 0 };
      return place.epoch > epoch || (place.epoch === epoch && place.seq > seq);
    }
    case "node": {
      const seen = cursor.nodes.get(place.node);
      if (seen === undefined || place.incarnation > seen.incarnation) return true;
      return place.incarnation === seen.incarnation && place.seq > seen.seq;
    }
    default:
      return unreachable(place);
  }
}

/** The cursor of who has seen this event too. */
export function advanced(cursor: Cursor, place: EventPlace): Cursor {
  if (!isAfter(place, cursor)) return cursor;
  switch (place.kind) {
    case "store":
      return { ...cursor, store: { revision: place.revision, index: place.index } };
    case "leader":
      return { ...cursor, leader: { epoch: place.epoch, seq: place.seq } };
    case "node": {
      const { node, incarnation, seq } = place;
      return { ...cursor, nodes: new Map(cursor.nodes).set(node, { incarnation, seq }) };
    }
    default:
      return unreachable(place);
  }
}

/** The cursor of who has seen all that the store says up to this revision. */
export function advancedTo(cursor: Cursor, revision: number): Cursor {
  const store = { revision, index: INDEX_LAST };
  return compareStore(store, cursor.store) > 0 ? { ...cursor, store } : cursor;
}

/** The cursor of who has seen what both have. */
export function joined(cursor: Cursor, { store, nodes, leader }: Cursor): Cursor {
  const places: readonly EventPlace[] = [
    { kind: "store", ...store },
    ...[...nodes].map(([node, seen]) => ({ kind: "node", node, ...seen }) as const),
    ...(leader === undefined ? [] : [{ kind: "leader", ...leader } as const]),
  ];
  return places.reduce(advanced, cursor);
}

export function formatCursor({ store, nodes, leader }: Cursor): string {
  const seen = [...nodes].map(([node, { incarnation, seq }]) => `~${node}.${incarnation}.${seq}`);
  if (leader !== undefined) seen.push(`~@${leader.epoch}.${leader.seq}`);
  return `${store.revision}.${store.index}${seen.join("")}`;
}

/** @throws AetherError E_INVALID */
export function parseCursor(text: string): Cursor {
  const [first = "", ...others] = text.length > CURSOR_CHARS_MAX ? [] : text.split("~");
  const store = STORE.exec(first);
  const leaders = others.filter((other) => other.startsWith("@")).map((other) => LEADER.exec(other));
  const nodes = others.filter((other) => !other.startsWith("@")).map((other) => NODE.exec(other));
  if (store === null || nodes.includes(null) || leaders.includes(null)) {
    const shown = text.slice(0, 100);
    throw new AetherError("E_INVALID", `"${shown}" is no place among the events: use one that a node gave as id`);
  }
  const [leader] = leaders;
  return {
    store: { revision: Number(store[1]), index: Number(store[2]) },
    ...(leader && { leader: { epoch: Number(leader[1]), seq: Number(leader[2]) } }),
    nodes: new Map(nodes.flatMap((match) => match === null ? [] : [
      [parseNodeId(match[1] ?? ""), { incarnation: Number(match[2]), seq: Number(match[3]) }] as const,
    ])),
  };
}

function compareStore(a: Cursor["store"], b: Cursor["store"]): number {
  return a.revision - b.revision || a.index - b.index;
}
