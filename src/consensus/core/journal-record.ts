// Owns: the bytes of one journal record: everything one group commit makes durable, with a checksum that continues its
// predecessor's, so that a lost, swapped or damaged record is found at start.
import { unreachable } from "../../base/assert.ts";
import { decode, encode } from "../../base/codec.ts";
import { crc32 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import type { NodeId, NodeUid } from "../../base/ids.ts";
import { MiB } from "../../base/units.ts";
import type { FirstVoter } from "./effects.ts";
import type { Ballot, BatchId, Outcome } from "./message.ts";
import {
  ballotFromWire,
  ballotToWire,
  choiceToWire,
  firstVoterFromWire,
  firstVoterToWire,
  idFrom,
  idParts,
  outcomeFromWire,
} from "./message-codec.ts";
import type { PeerPromise } from "./peer-view.ts";

export const JOURNAL_FORMAT = 1;
const RECORD_BYTES_MAX = 256 * MiB;
const CHECKSUM_BYTES = 4;

export interface StoredBatch {
  readonly id: BatchId;
  readonly commands: Uint8Array;
}

/** Who this data directory belongs to. The first record of a journal, and only there. */
export interface Identity {
  readonly cluster: string;
  readonly node: NodeId;
  readonly uid: NodeUid;
  readonly share: string;
  readonly voters: readonly NodeId[];
  readonly windowSlots: number;
}

export type StoredEntry =
  | { readonly kind: "identity"; readonly identity: Identity }
  /** A start of the process: raises the incarnation before the first message of it. */
  | { readonly kind: "start"; readonly incarnation: number; readonly startId: string }
  | { readonly kind: "voter-list"; readonly voters: readonly FirstVoter[]; readonly seed: string | undefined }
  | { readonly kind: "formed" }
  | { readonly kind: "diverged" | "removed"; readonly reason: string }
  | { readonly kind: "generation"; readonly generation: number; readonly slot: number }
  /**
   * Only in a base: the records before it are gone, slots below `slot` are no longer served, and `checksum` is that of
   * the last record that went.
   */
  | { readonly kind: "cut"; readonly slot: number; readonly checksum: number }
  | { readonly kind: "ballot"; readonly ballot: Ballot; readonly batches: readonly StoredBatch[] }
  | {
      readonly kind: "decided";
      readonly slot: number;
      readonly outcome: Outcome;
      readonly batches: readonly StoredBatch[];
      /** For each batch of the outcome the record that holds it; 0 where the dedupe table skipped it. */
      readonly locations: readonly number[];
    };

export interface JournalRecord {
  /** 1, 2, 3 … without a gap. */
  readonly number: number;
  /** H as of this write. */
  readonly proposeBelow: number;
  readonly promises: readonly PeerPromise[];
  readonly entries: readonly StoredEntry[];
}

type Wire = readonly unknown[];

const TAG = {
  identity: 20,
  start: 21,
  voterList: 22,
  formed: 23,
  ballot: 24,
  decided: 25,
  diverged: 26,
  removed: 27,
  generation: 28,
  cut: 29,
} as const;

/** The stored bytes of a record: its chained checksum (4 bytes, big endian), then its body. */
export function encodeRecord(
  record: JournalRecord,
  previous: number,
): { readonly bytes: Uint8Array; readonly checksum: number } {
  const body = encode([
    JOURNAL_FORMAT,
    record.number,
    record.proposeBelow,
    record.promises.map((promise) => [promise.uid, promise.startId, promise.writeNumber]),
    record.entries.map(entryToWire),
  ]);
  const checksum = crc32(body, previous);
  const bytes = Buffer.allocUnsafe(CHECKSUM_BYTES + body.byteLength);
  bytes.writeUInt32BE(checksum, 0);
  bytes.set(body, CHECKSUM_BYTES);
  return { bytes, checksum };
}

/** The checksum stored with a record, unchecked. */
export function checksumOf(stored: Uint8Array): number {
  return new DataView(stored.buffer, stored.byteOffset, stored.byteLength).getUint32(0);
}

/**
 * Reads a record and checks that it follows the one with the checksum `previous`, which is 0 for the first.
 * @throws AetherError E_DATA_CORRUPT for bytes that are not what was written, E_VERSION for a newer format.
 */
export function decodeRecord(
  stored: Uint8Array,
  previous: number,
): { readonly record: JournalRecord; readonly checksum: number } {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  if (bytes.byteLength <= CHECKSUM_BYTES) throw corrupt("a record is cut off");
  const checksum = bytes.readUInt32BE(0);
  const body = bytes.subarray(CHECKSUM_BYTES);
  if (crc32(body, previous) !== checksum)
    throw corrupt("a record does not match its checksum");
  try {
    return { record: recordFromWire(decode(body, RECORD_BYTES_MAX) as Wire), checksum };
  } catch (error) {
    if (error instanceof AetherError && error.code === "E_VERSION") throw error;
    throw corrupt("a record cannot be decoded");
  }
}

function corrupt(what: string): AetherError {
  return new AetherError(
    "E_DATA_CORRUPT",
    `the journal is damaged: ${what}; this voter cannot know what it had promised. ` +
      "Keep the directory for analysis and restore the disk it was on",
  );
}

function recordFromWire(wire: Wire): JournalRecord {
  const [format, number, proposeBelow, promises, entries] = wire;
  if (format !== JOURNAL_FORMAT) {
    throw new AetherError(
      "E_VERSION",
      `the journal has format ${String(format)}, this build reads format ${JOURNAL_FORMAT}: start the newer build`,
    );
  }
  return {
    number: number as number,
    proposeBelow: proposeBelow as number,
    promises: (promises as Wire[]).map(([uid, startId, writeNumber]) => ({
      uid: uid as NodeUid,
      startId: startId as string,
      writeNumber: writeNumber as number,
    })),
    entries: (entries as Wire[]).map(entryFromWire),
  };
}

function entryToWire(entry: StoredEntry): Wire {
  switch (entry.kind) {
    case "identity": {
      const { cluster, node, uid, share, voters, windowSlots } = entry.identity;
      return [TAG.identity, cluster, node, uid, share, voters, windowSlots];
    }
    case "start":
      return [TAG.start, entry.incarnation, entry.startId];
    case "voter-list":
      return [TAG.voterList, entry.voters.map(firstVoterToWire), entry.seed ?? null];
    case "formed":
      return [TAG.formed];
    case "generation":
      return [TAG.generation, entry.generation, entry.slot];
    case "diverged":
    case "removed":
      return [TAG[entry.kind], entry.reason];
    case "cut":
      return [TAG.cut, entry.slot, entry.checksum];
    case "ballot":
      return [TAG.ballot, ballotToWire(entry.ballot), entry.batches.map(batchToWire)];
    case "decided":
      return [TAG.decided, entry.slot, choiceToWire(entry.outcome), entry.batches.map(batchToWire), entry.locations];
    default:
      return unreachable(entry);
  }
}

function entryFromWire(wire: Wire): StoredEntry {
  switch (wire[0]) {
    case TAG.identity: {
      const [, cluster, node, uid, share, voters, windowSlots] = wire;
      return {
        kind: "identity",
        identity: {
          cluster: cluster as string,
          node: node as NodeId,
          uid: uid as NodeUid,
          share: share as string,
          voters: voters as NodeId[],
          windowSlots: windowSlots as number,
        },
      };
    }
    case TAG.start:
      return { kind: "start", incarnation: wire[1] as number, startId: wire[2] as string };
    case TAG.voterList:
      return {
        kind: "voter-list",
        voters: (wire[1] as Wire[]).map(firstVoterFromWire),
        seed: (wire[2] as string | null) ?? undefined,
      };
    case TAG.formed:
      return { kind: "formed" };
    case TAG.generation:
      return { kind: "generation", generation: wire[1] as number, slot: wire[2] as number };
    case TAG.diverged:
    case TAG.removed:
      return { kind: wire[0] === TAG.diverged ? "diverged" : "removed", reason: wire[1] as string };
    case TAG.cut:
      return { kind: "cut", slot: wire[1] as number, checksum: wire[2] as number };
    case TAG.ballot:
      return {
        kind: "ballot",
        ballot: ballotFromWire(wire[1] as Wire),
        batches: (wire[2] as Wire[]).map(batchFromWire),
      };
    case TAG.decided:
      return {
        kind: "decided",
        slot: wire[1] as number,
        outcome: outcomeFromWire(wire[2]),
        batches: (wire[3] as Wire[]).map(batchFromWire),
        locations: wire[4] as number[],
      };
    default:
      throw corrupt("a record has an unknown entry");
  }
}

function batchToWire(batch: StoredBatch): Wire {
  return [...idParts(batch.id), batch.commands];
}

function batchFromWire(wire: Wire): StoredBatch {
  return { id: idFrom(wire, 0), commands: wire[3] as Uint8Array };
}
