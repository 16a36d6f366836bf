// Owns: one entry as bytes, in memory and on disk, and its checksum.
//
// A block is: key | format 1 | modRevision 8 | createRevision 8 | version 8 | value | crc32 of all before 4.
// The disk has the key as its key and the rest as its value, so a row that strays to another key is found as well.
import { crc32 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import { decodeValue } from "./value.ts";
import { utf8Bytes, type KeyText } from "./key.ts";
import type { KvEntry } from "./schema.ts";

/** Version of the block's format. */
const ENTRY_FORMAT = 1;
/** In place of the format, in the checksum of a deletion: it has no block of its own. */
const DELETED = 0xff;
const HEADER_BYTES = 1 + 3 * 8;
const CHECKSUM_BYTES = 4;

/** One version of one key. Immutable. */
export class StoredEntry {
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly block: Buffer;
  readonly keyLength: number;

  constructor(block: Buffer, keyLength: number) {
    this.block = block;
    this.keyLength = keyLength;
    this.modRevision = block.readDoubleLE(keyLength + 1);
    this.createRevision = block.readDoubleLE(keyLength + 9);
    this.version = block.readDoubleLE(keyLength + 17);
  }

  /** The canonical bytes of the value. */
  get value(): Uint8Array {
    return this.block.subarray(this.keyLength + HEADER_BYTES, this.block.length - CHECKSUM_BYTES);
  }

  get checksum(): number {
    return this.block.readUInt32LE(this.block.length - CHECKSUM_BYTES);
  }

  /** Key and value of the row on disk. */
  get row(): { readonly key: Uint8Array; readonly value: Uint8Array } {
    return { key: this.block.subarray(0, this.keyLength), value: this.block.subarray(this.keyLength) };
  }
}

export interface EntryFields {
  readonly value: Uint8Array;
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
}

/** Copies everything: an entry never keeps the batch alive that it came in. */
export function encodeEntry(key: KeyText, fields: EntryFields): StoredEntry {
  const keyLength = utf8Bytes(key);
  const block = Buffer.allocUnsafe(keyLength + HEADER_BYTES + fields.value.length + CHECKSUM_BYTES);
  writeKey(block, key, keyLength);
  block[keyLength] = ENTRY_FORMAT;
  block.writeDoubleLE(fields.modRevision, keyLength + 1);
  block.writeDoubleLE(fields.createRevision, keyLength + 9);
  block.writeDoubleLE(fields.version, keyLength + 17);
  block.set(fields.value, keyLength + HEADER_BYTES);
  const end = block.length - CHECKSUM_BYTES;
  block.writeUInt32LE(crc32(block.subarray(0, end)), end);
  return new StoredEntry(block, keyLength);
}

/** Reads a row of the disk. @throws AetherError E_DATA_CORRUPT when it is not as it was written. */
export function decodeRow(key: Uint8Array, row: Uint8Array): StoredEntry {
  const block = Buffer.concat([key, row]);
  const end = block.length - CHECKSUM_BYTES;
  const isWhole = row.length >= HEADER_BYTES + CHECKSUM_BYTES;
  if (!isWhole || crc32(block.subarray(0, end)) !== block.readUInt32LE(end)) {
    throw corrupt(key, "its checksum does not match");
  }
  if (row[0] !== ENTRY_FORMAT) throw corrupt(key, `its format is ${row[0]}, known is ${ENTRY_FORMAT}`);
  return new StoredEntry(block, key.length);
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
  const { modRevision, createRevision, version } = entry;
  return { key, value: decodeValue(entry.value), modRevision, createRevision, version };
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
