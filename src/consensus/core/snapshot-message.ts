// Owns: the messages that carry a snapshot from one node to another, and their bytes. Decoding is total: bad input
// gives undefined, never a throw. Does not own: what is in a chunk (the state machine).
import { decodeUntrusted, encode } from "../../base/codec.ts";
import { MiB } from "../../base/units.ts";

/** Version of these messages. */
const SNAPSHOT_MESSAGE_FORMAT = 1;
/** A chunk of at most 1 MiB, with headroom. */
const MESSAGE_BYTES_MAX = 2 * MiB;
const TEXT_LENGTH_MAX = 500;

/** `transfer` names one attempt to fetch; whoever asks makes it. */
export type SnapshotMessage =
  /** Begins a transfer, or goes on with it: chunks [0, from) are on the disk of whoever asks. */
  | { readonly kind: "request"; readonly transfer: string; readonly from: number }
  /** Chunks come. `bytesEstimated` is 0 when nobody knows. */
  | {
      readonly kind: "accepted";
      readonly transfer: string;
      readonly appliedSlots: number;
      readonly bytesEstimated: number;
    }
  /** Too many others fetch: ask again. */
  | { readonly kind: "wait"; readonly transfer: string }
  | {
      readonly kind: "chunk";
      readonly transfer: string;
      readonly index: number;
      readonly isLast: boolean;
      readonly bytes: Uint8Array;
    }
  /** Chunks [0, below) are on disk. */
  | { readonly kind: "ack"; readonly transfer: string; readonly below: number }
  /** The other side is to forget the transfer. */
  | { readonly kind: "end"; readonly transfer: string; readonly reason: string };

export function encodeSnapshotMessage(message: SnapshotMessage): Uint8Array {
  return encode([SNAPSHOT_MESSAGE_FORMAT, message.kind, message.transfer, ...fieldsOf(message)]);
}

function fieldsOf(message: SnapshotMessage): readonly unknown[] {
  switch (message.kind) {
    case "request":
      return [message.from];
    case "accepted":
      return [message.appliedSlots, message.bytesEstimated];
    case "wait":
      return [];
    case "chunk":
      return [message.index, message.isLast, message.bytes];
    case "ack":
      return [message.below];
    case "end":
      return [message.reason.slice(0, TEXT_LENGTH_MAX)];
  }
}

/** The message, or undefined when these bytes are none: the caller counts and drops it. */
export function decodeSnapshotMessage(payload: Uint8Array): SnapshotMessage | undefined {
  try {
    const wire = decodeUntrusted(payload, MESSAGE_BYTES_MAX);
    if (!Array.isArray(wire)) return undefined;
    const [format, kind, transfer, ...fields] = wire as readonly unknown[];
    if (format !== SNAPSHOT_MESSAGE_FORMAT || !isText(transfer)) return undefined;
    return fromFields(kind, transfer, fields);
  } catch {
    // ignored: whatever is wrong with a peer's bytes, the answer is the same refusal
    return undefined;
  }
}

function fromFields(kind: unknown, transfer: string, fields: readonly unknown[]): SnapshotMessage | undefined {
  const [first, second, third] = fields;
  switch (kind) {
    case "request":
      return isCount(first) ? { kind, transfer, from: first } : undefined;
    case "accepted":
      if (!isCount(first) || !isCount(second)) return undefined;
      return { kind, transfer, appliedSlots: first, bytesEstimated: second };
    case "wait":
      return { kind, transfer };
    case "chunk":
      if (!isCount(first) || typeof second !== "boolean" || !(third instanceof Uint8Array)) return undefined;
      return { kind, transfer, index: first, isLast: second, bytes: third };
    case "ack":
      return isCount(first) ? { kind, transfer, below: first } : undefined;
    case "end":
      return isText(first) ? { kind, transfer, reason: first } : undefined;
    default:
      return undefined;
  }
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= TEXT_LENGTH_MAX;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
