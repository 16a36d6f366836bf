// Owns: one entry as bytes, in memory and on disk, and its checksum.
//
// A block is: key | format 1 | modRevision 8 | createRevision 8 | version 8 | value | crc32 of all before 4.
// Format 2 is that of an entry attached to a lease: before the value it has the lease 8 | number of its row there 4.
// The disk has the key as its key and the rest as its value, so a row that strays to another key is found as well.
import { crc32 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import { decodeValue } from "./value.ts";
import { utf8Bytes, type KeyText } from "./key.ts";
import type { KvEntry, LeaseId } from "./schema.ts";

const PLAIN_FORMAT = 1;
const LEASED_FORMAT = 2;
/** In place of the format, in the checksum of a deletion: it has no block of its own. */
const DELETED = 0xff;
const HEADER_BYTES = 1 + 3 * 8;
const LEASE_BYTES = 8 + 4;
const CHECKSUM_BYTES = 4;
const FIELD_BYTES = HEADER_BYTES + CHECKSUM_BYTES;

/** One version of one key. Immutable. Its fields stand beside its block: old blocks are far away in memory. */
export class StoredEntry {
  readonly block: Buffer;
  readonly keyLength: number;
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly lease: AttachedLease | undefined;

  /** `fields` are those of the block. */
  constructor(block: Buffer, keyLength: number, fields: Omit<EntryFields, "value">) {
    this.block = block;
    this.keyLength = keyLength;
    this.modRevision = fields.modRevision;
    this.createRevision = fields.createRevision;
    this.version = fields.version;
    this.lease = fields.lease;
  }

  /** The entry of a block that is whole. */
  static fromBlock(block: Buffer, keyLength: number): StoredEntry {
    const leaseAt = keyLength + HEADER_BYTES;
    const isLeased = block[keyLength] === LEASED_FORMAT;
    return new StoredEntry(block, keyLength, {
      modRevision: block.readDoubleLE(keyLength + 1),
      createRevision: block.readDoubleLE(keyLength + 9),
      version: block.readDoubleLE(keyLength + 17),
      lease: isLeased ? { id: block.readDoubleLE(leaseAt), slot: block.readUInt32LE(leaseAt + 8) } : undefined,
    });
  }

  /** The canonical bytes of the value. */
  get value(): Uint8Array {
    const header = this.lease === undefined ? HEADER_BYTES : HEADER_BYTES + LEASE_BYTES;
    return this.block.subarray(this.keyLength + header, this.block.length - CHECKSUM_BYTES);
  }

  get checksum(): number {
    return this.block.readUInt32LE(this.block.length - CHECKSUM_BYTES);
  }

  /** Key and value of the row on disk. */
  get row(): { readonly key: Uint8Array; readonly value: Uint8Array } {
    return { key: this.block.subarray(0, this.keyLength), value: this.block.subarray(this.keyLength) };
  }
}

/** The lease of an entry, and which of the lease's rows names the entry's key. */
export interface AttachedLease {
  readonly id: LeaseId;
  readonly slot: number;
}

export interface EntryFields {
  readonly value: Uint8Array;
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly lease?: AttachedLease | undefined;
}

/** Copies everything: an entry never keeps the batch alive that it came in. */
export function encodeEntry(key: KeyText, fields: EntryFields): StoredEntry {
  const keyLength = utf8Bytes(key);
  const { lease } = fields;
  const header = lease === undefined ? HEADER_BYTES : HEADER_BYTES + LEASE_BYTES;
  const block = Buffer.allocUnsafe(keyLength + header + fields.value.length + CHECKSUM_BYTES);
  writeKey(block, key, keyLength);
  block[keyLength] = lease === undefined ? PLAIN_FORMAT : LEASED_FORMAT;
  block.writeDoubleLE(fields.modRevision, keyLength + 1);
  block.writeDoubleLE(fields.createRevision, keyLength + 9);
  block.writeDoubleLE(fields.version, keyLength + 17);
  if (lease !== undefined) {
    block.writeDoubleLE(lease.id, keyLength + HEADER_BYTES);
    block.writeUInt32LE(lease.slot, keyLength + HEADER_BYTES + 8);
  }
  block.set(fields.value, keyLength + header);
  const end = block.length - CHECKSUM_BYTES;
  block.writeUInt32LE(crc32(block.subarray(0, end)), end);
  return new StoredEntry(block, keyLength, fields);
}

/** Reads a row of the disk. @throws AetherError E_DATA_CORRUPT when it is not as it was written. */
export function decodeRow(key: Uint8Array, row: Uint8Array): StoredEntry {
  const block = Buffer.concat([key, row]);
  const end = block.length - CHECKSUM_BYTES;
  const isWhole = row.length >= (row[0] === LEASED_FORMAT ? FIELD_BYTES + LEASE_BYTES : FIELD_BYTES);
  if (!isWhole || crc32(block.subarray(0, end)) !== block.readUInt32LE(end)) {
    throw corrupt(key, "its checksum does not match");
  }
  if (row[0] !== PLAIN_FORMAT && row[0] !== LEASED_FORMAT) {
    throw corrupt(key, `its format is ${row[0]}, known are ${PLAIN_FORMAT} and ${LEASED_FORMAT}`);
  }
  return StoredEntry.fromBlock(block, key.length);
}

/** Bytes of an entry beside its key and its value. */
export function fieldBytes(lease: LeaseId | undefined): number {
  return lease === undefined ? FIELD_BYTES : FIELD_BYTES + LEASE_BYTES;
}

/** Checksum of a deletion: enters the state hash as the checksum of a put does. */
export function checksumOfDeletion(key: KeyText, revision: number): number {
  const keyLength = utf8Bytes(key);
  const block = Buffer.allocUnsafe(keyLength + 9);
  writeKey(block, key, keyLength);
  block[keyLength] = DELETED;
  block.writeDoubleLE(revision, keyLength + 1);
  return crc32(block);
}

/** The entry as callers see it. */
export function toKvEntry(key: KeyText, entry: StoredEntry): KvEntry {
  const { modRevision, createRevision, version, lease } = entry;
  const shown = { key, value: decodeValue(entry.value), modRevision, createRevision, version };
  return lease === undefined ? shown : { ...shown, lease: lease.id };
}

// Keys are ASCII as a rule, and that is several times faster to write.
function writeKey(block: Buffer, key: KeyText, keyLength: number): void {
  block.write(key, 0, keyLength === key.length ? "latin1" : "utf8");
}

function corrupt(key: Uint8Array, reason: string): AetherError {
  const shown = Buffer.from(key).toString();
  return new AetherError("E_DATA_CORRUPT", `read the stored entry of "${shown}": ${reason}; replace this node's data`, {
    outcome: "none",
    details: { key: shown },
  });
}
