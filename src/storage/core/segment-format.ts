// Owns: the bytes of a segment of a log: a head, then records that each begin on a sector. What a disk can leave of a
// write that power or a crash cut short (sectors, or an end, that are still zero) is told from damage, which is
// refused.
// Does not own: files. Three things make the difference decidable:
// - A segment is all zero before it is used, and every record begins on a sector of its own: a write never touches a
//   sector with bytes of an earlier record.
// - A complete record ends with a byte that is not zero, and says how many of its sectors are zero all the same.
// - Only the last record of a log may be torn, because one is written at a time.
import { assert } from "../../base/assert.ts";
import { crc32 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";

/** Disks write this much whole or not at all. */
export const SECTOR_BYTES = 512;
const SEGMENT_FORMAT = 1;
const SEGMENT_MAGIC = Buffer.from("AELOGSEG", "latin1");
const RECORD_MAGIC = 0x41_45_52_43;
const RECORD_HEAD_BYTES = 28;
const PADDING = 0xa5;

export interface RecordPlace {
  readonly number: number;
  /** Where its head is, in sectors from the start of the segment. */
  readonly sector: number;
}

export interface SegmentScan {
  readonly records: readonly RecordPlace[];
  /** The sector after the last record. */
  readonly end: number;
  /** True when the rest is not all zero: a record was torn there. */
  readonly isTorn: boolean;
}

/** The first sector of a segment. */
export function encodeSegmentHead(sequence: number): Buffer {
  const head = Buffer.alloc(SECTOR_BYTES);
  SEGMENT_MAGIC.copy(head);
  head.writeUInt32BE(SEGMENT_FORMAT, 8);
  head.writeBigUInt64BE(BigInt(sequence), 12);
  head.writeUInt32BE(crc32(head.subarray(0, 20)), 20);
  return head;
}

/** @throws AetherError E_DATA_CORRUPT when this is not the head of that segment, E_VERSION for a newer format. */
export function checkSegmentHead(bytes: Buffer, sequence: number, path: string): void {
  const isWhole = bytes.byteLength >= SECTOR_BYTES && SEGMENT_MAGIC.equals(bytes.subarray(0, 8));
  if (!isWhole || bytes.readUInt32BE(20) !== crc32(bytes.subarray(0, 20))) throw damaged(path, "its head is damaged");
  const format = bytes.readUInt32BE(8);
  if (format !== SEGMENT_FORMAT) {
    throw new AetherError(
      "E_VERSION",
      `${path} has format ${format}, this build reads format ${SEGMENT_FORMAT}: start the newer build`,
    );
  }
  if (bytes.readBigUInt64BE(12) !== BigInt(sequence)) throw damaged(path, "it is another file of the journal");
}

/** A record as it is written: whole sectors. */
export function encodeLogRecord(number: number, payload: Uint8Array): Buffer {
  assert(payload.byteLength > 0, "a record of the log is not empty");
  const sectors = sectorsOf(payload.byteLength);
  const bytes = Buffer.allocUnsafe(sectors * SECTOR_BYTES);
  bytes.set(payload, RECORD_HEAD_BYTES);
  bytes.fill(PADDING, RECORD_HEAD_BYTES + payload.byteLength);
  bytes.writeUInt32BE(RECORD_MAGIC, 0);
  bytes.writeUInt32BE(payload.byteLength, 4);
  bytes.writeBigUInt64BE(BigInt(number), 8);
  bytes.writeUInt32BE(crc32(payload), 16);
  bytes.writeUInt32BE(countBlank(bytes), 20);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 24)), 24);
  return bytes;
}

/** How many sectors a record with so many bytes takes. */
export function sectorsOf(payloadBytes: number): number {
  return Math.ceil((RECORD_HEAD_BYTES + payloadBytes + 1) / SECTOR_BYTES);
}

/** The payload of the record at the start of `bytes`. @throws AetherError E_DATA_CORRUPT */
export function decodeLogRecord(bytes: Buffer, number: number, path: string): Uint8Array {
  const head = readHead(bytes);
  const payload = head === undefined ? undefined : payloadOf(bytes, head);
  if (head?.number !== number || payload === undefined) throw damaged(path, `record ${number} is damaged`);
  return payload;
}

/**
 * Finds the records of a whole segment. Their numbers follow each other from `expected` on, or from any when absent.
 * @throws AetherError E_DATA_CORRUPT
 */
export function scanSegment(bytes: Buffer, expected: number | undefined, path: string): SegmentScan {
  const records: RecordPlace[] = [];
  let next = expected;
  let sector = 1;
  for (;;) {
    const rest = bytes.subarray(sector * SECTOR_BYTES);
    if (isBlank(rest)) return { records, end: sector, isTorn: false };
    const head = readHead(rest);
    if (head === undefined || payloadOf(rest, head) === undefined) {
      if (isTornRecord(rest, head)) return { records, end: sector, isTorn: true };
      throw damaged(path, `what follows record ${(next ?? 1) - 1} is damaged`);
    }
    if (head.number !== (next ?? head.number)) throw missing(path, next ?? 0, head.number);
    records.push({ number: head.number, sector });
    next = head.number + 1;
    sector += sectorsOf(head.payloadBytes);
  }
}

interface RecordHead {
  readonly number: number;
  readonly payloadBytes: number;
  readonly checksum: number;
  readonly blankSectors: number;
}

function readHead(bytes: Buffer): RecordHead | undefined {
  if (bytes.byteLength < RECORD_HEAD_BYTES || bytes.readUInt32BE(0) !== RECORD_MAGIC) return undefined;
  if (bytes.readUInt32BE(24) !== crc32(bytes.subarray(0, 24))) return undefined;
  return {
    payloadBytes: bytes.readUInt32BE(4),
    number: Number(bytes.readBigUInt64BE(8)),
    checksum: bytes.readUInt32BE(16),
    blankSectors: bytes.readUInt32BE(20),
  };
}

function payloadOf(bytes: Buffer, head: RecordHead): Uint8Array | undefined {
  const payload = bytes.subarray(RECORD_HEAD_BYTES, RECORD_HEAD_BYTES + head.payloadBytes);
  return payload.byteLength === head.payloadBytes && crc32(payload) === head.checksum ? payload : undefined;
}

/** True for what a write that was cut short can leave, and no complete record can become by a flipped bit. */
function isTornRecord(rest: Buffer, head: RecordHead | undefined): boolean {
  if (head === undefined) {
    // Its first sector is missing, or an end of that one: then nothing that follows is a record.
    const isUnwritten = isBlank(rest.subarray(0, SECTOR_BYTES));
    return isUnwritten ? !hasRecord(rest) : isBlank(rest.subarray(RECORD_HEAD_BYTES));
  }
  const size = sectorsOf(head.payloadBytes) * SECTOR_BYTES;
  if (!isBlank(rest.subarray(size))) return false;
  const record = rest.subarray(0, size);
  return record.byteLength < size || record.at(-1) === 0 || countBlank(record) > head.blankSectors;
}

function hasRecord(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.byteLength; at += SECTOR_BYTES) {
    if (readHead(bytes.subarray(at)) !== undefined) return true;
  }
  return false;
}

function countBlank(bytes: Buffer): number {
  let count = 0;
  for (let at = SECTOR_BYTES; at < bytes.byteLength; at += SECTOR_BYTES) {
    if (bytes[at] === 0 && isBlank(bytes.subarray(at, at + SECTOR_BYTES))) count += 1;
  }
  return count;
}

const BLANK = Buffer.alloc(64 * SECTOR_BYTES);

function isBlank(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.byteLength; at += BLANK.byteLength) {
    const part = bytes.subarray(at, at + BLANK.byteLength);
    if (!part.equals(BLANK.subarray(0, part.byteLength))) return false;
  }
  return true;
}

/** What to do about data that is not what was written. */
export function damaged(path: string, what: string): AetherError {
  return new AetherError(
    "E_DATA_CORRUPT",
    `the journal is damaged: ${path}: ${what}; this voter cannot know what it had promised. ` +
      "Keep the directory for analysis and restore the disk it was on, or replace the node",
    { details: { path } },
  );
}

function missing(path: string, expected: number, found: number): AetherError {
  return damaged(path, `it misses record ${expected} (found ${found})`);
}
