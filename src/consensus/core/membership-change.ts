// Owns: a change of the membership as the bytes of a batch. Such a batch is decided like any other, but consensus runs
// it itself: its first byte never begins a MessagePack value, so that no list of commands can be taken for one.
import { decode, encode } from "../../base/codec.ts";
import { type NodeId, type NodeUid, parseNodeId } from "../../base/ids.ts";
import { KiB } from "../../base/units.ts";

const CHANGE_MARK = 0xc1;
const CHANGE_FORMAT = 1;
const CHANGE_BYTES_MAX = 4 * KiB;
const ADDRESS_LENGTH_MAX = 1_024;
const UID_LENGTH_MAX = 64;

/** A change as it is decided: it names the data directory it means, not only the node. */
export type DecidedChange =
  /** An empty uid reserves the name; the uid of a member gives it another address. */
  | { readonly kind: "add"; readonly node: NodeId; readonly uid: NodeUid; readonly address: string }
  | {
      readonly kind: "promote" | "remove";
      readonly node: NodeId;
      readonly uid: NodeUid;
      /** The first slot of the voter list that this was judged by: under another one it is refused. */
      readonly basis: number | undefined;
    }
  | { readonly kind: "lost"; readonly node: NodeId; readonly uid: NodeUid }
  | { readonly kind: "raise-version"; readonly version: number };

// The numbers on the wire are the indexes of this list; it only ever grows at the end.
const KINDS = ["add", "promote", "remove", "lost", "raise-version"] as const satisfies readonly DecidedChange["kind"][];

export function isChange(batch: Uint8Array): boolean {
  return batch[0] === CHANGE_MARK;
}

export function encodeChange(change: DecidedChange): Uint8Array {
  const kind = KINDS.indexOf(change.kind);
  const fields: unknown[] = change.kind === "raise-version" ? [change.version] : [change.node, change.uid];
  if (change.kind === "add") fields.push(change.address);
  if ((change.kind === "promote" || change.kind === "remove") && change.basis !== undefined) fields.push(change.basis);
  return Buffer.concat([Uint8Array.of(CHANGE_MARK), encode([CHANGE_FORMAT, kind, ...fields])]);
}

/** Reads what `encodeChange` made. Total: anything else is undefined, alike on every node. */
export function parseChange(batch: Uint8Array): DecidedChange | undefined {
  try {
    const wire = decode(batch.subarray(1), CHANGE_BYTES_MAX);
    if (!Array.isArray(wire) || wire[0] !== CHANGE_FORMAT) return undefined;
    const [, index, ...fields] = wire as readonly unknown[];
    return fieldsToChange(typeof index === "number" ? KINDS[index] : undefined, fields);
  } catch {
    // ignored: whatever is wrong with the bytes, they change nothing
    return undefined;
  }
}

function fieldsToChange(
  kind: DecidedChange["kind"] | undefined,
  fields: readonly unknown[],
): DecidedChange | undefined {
  if (kind === undefined) return undefined;
  if (kind === "raise-version") {
    const [version] = fields;
    return Number.isSafeInteger(version) ? { kind, version: version as number } : undefined;
  }
  const [name, uid, last] = fields;
  if (typeof name !== "string" || typeof uid !== "string" || uid.length > UID_LENGTH_MAX) return undefined;
  const named = { node: parseNodeId(name), uid: uid as NodeUid };
  if (kind === "lost") return { kind, ...named };
  if (kind === "add") {
    if (typeof last !== "string" || last.length > ADDRESS_LENGTH_MAX) return undefined;
    return { kind, ...named, address: last };
  }
  if (last !== undefined && !Number.isSafeInteger(last)) return undefined;
  return { kind, ...named, basis: last as number | undefined };
}
