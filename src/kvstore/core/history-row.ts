// Owns: consecutive revisions with their changes as bytes: one row of the history, and its checksum.
// Does not own: which rows there are (history-index.ts), where they are kept (kv-history.ts).
//
// A row is: format 1 | first revision 8 | revisions 4 | per revision: changes 4, then each change | crc32 of it all 4.
// A change is: tag 1 | length of the key 2 | a put's block, a deletion's key | the block of the entry before, if any.
// Blocks and keys of deletions have their length before them. An entry that the same row brought is not repeated.
import { present } from "../../base/assert.ts";
import { crc32 } from "../../base/digest.ts";
import { KEY_BYTES_MAX, type KeyText } from "./key.ts";
import type { StoredChange } from "./state-machine.ts";
import { StoredEntry } from "./stored-entry.ts";

/** What one revision changed, in the order of its transaction, for keys that users can see. May be nothing. */
export interface RevisionChanges {
  readonly revision: number;
  readonly changes: readonly StoredChange[];
}

const ROW_FORMAT = 1;
const HEADER_BYTES = 1 + 8 + 4;
const CHECKSUM_BYTES = 4;
const CHANGE_BYTES = 1 + 2;
const LENGTH_BYTES = 4;

const TAGS = { isPut: 1, hasBefore: 2, isBeforeInRow: 4 } as const;

/** `items` are consecutive revisions, at least one. */
export function encodeHistoryRow(items: readonly RevisionChanges[]): Uint8Array {
  const first = items[0]?.revision ?? 0;
  const writer = new RowWriter(sizeOf(items, first), first, items.length);
  for (const { changes } of items) writer.addRevision(changes);
  return writer.finish();
}

/** The items of a row; undefined when it is not as it was written. */
export function decodeHistoryRow(row: Uint8Array): readonly RevisionChanges[] | undefined {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  const end = bytes.length - CHECKSUM_BYTES;
  if (end < HEADER_BYTES || crc32(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) return undefined;
  return bytes[0] === ROW_FORMAT ? new RowReader(bytes).read() : undefined;
}

/** Whether the entry before can be found in the same row, because the row brought it. */
function isInRow(before: StoredEntry, first: number): boolean {
  return before.modRevision >= first;
}

function sizeOf(items: readonly RevisionChanges[], first: number): number {
  let size = HEADER_BYTES + CHECKSUM_BYTES;
  for (const { changes } of items) {
    size += LENGTH_BYTES;
    for (const change of changes) {
      const { before } = change;
      size += CHANGE_BYTES + LENGTH_BYTES + (change.kind === "put" ? change.entry.block.length : KEY_BYTES_MAX);
      if (before !== undefined && !isInRow(before, first)) size += LENGTH_BYTES + before.block.length;
    }
  }
  return size;
}

class RowWriter {
  private readonly bytes: Buffer;
  private readonly first: number;
  private at = HEADER_BYTES;

  constructor(size: number, first: number, revisions: number) {
    this.bytes = Buffer.allocUnsafe(size);
    this.first = first;
    this.bytes[0] = ROW_FORMAT;
    this.bytes.writeDoubleLE(first, 1);
    this.bytes.writeUInt32LE(revisions, 9);
  }

  addRevision(changes: readonly StoredChange[]): void {
    this.at = this.bytes.writeUInt32LE(changes.length, this.at);
    for (const change of changes) this.addChange(change);
  }

  finish(): Uint8Array {
    const { at } = this;
    this.bytes.writeUInt32LE(crc32(this.bytes.subarray(0, at)), at);
    return this.bytes.subarray(0, at + CHECKSUM_BYTES);
  }

  private addChange(change: StoredChange): void {
    const { before } = change;
    const isBeforeInRow = before !== undefined && isInRow(before, this.first);
    const beforeTag = before === undefined ? 0 : isBeforeInRow ? TAGS.isBeforeInRow : TAGS.hasBefore;
    this.bytes[this.at++] = (change.kind === "put" ? TAGS.isPut : 0) | beforeTag;
    if (change.kind === "put") {
      this.at = this.bytes.writeUInt16LE(change.entry.keyLength, this.at);
      this.addBlock(change.entry.block);
    } else {
      this.at = this.bytes.writeUInt16LE(change.before.keyLength, this.at);
      this.addBlock(change.before.block.subarray(0, change.before.keyLength));
    }
    if (before !== undefined && !isBeforeInRow) this.addBlock(before.block);
  }

  private addBlock(block: Uint8Array): void {
    this.at = this.bytes.writeUInt32LE(block.length, this.at);
    this.bytes.set(block, this.at);
    this.at += block.length;
  }
}

class RowReader {
  private readonly bytes: Buffer;
  private at = HEADER_BYTES;
  /** The newest entry of each key that the row brought so far. */
  private readonly brought = new Map<KeyText, StoredEntry>();

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  read(): readonly RevisionChanges[] {
    const first = this.bytes.readDoubleLE(1);
    const items: RevisionChanges[] = [];
    const count = this.bytes.readUInt32LE(9);
    for (let index = 0; index < count; index++) items.push(this.readRevision(first + index));
    return items;
  }

  private readRevision(revision: number): RevisionChanges {
    const count = this.readLength();
    const changes: StoredChange[] = [];
    for (let index = 0; index < count; index++) changes.push(this.readChange(revision));
    return { revision, changes };
  }

  private readChange(modRevision: number): StoredChange {
    const tag = this.bytes[this.at++] ?? 0;
    const keyLength = this.bytes.readUInt16LE(this.at);
    this.at += 2;
    const block = this.readBlock();
    // Only parsed keys are ever written.
    const key = block.toString("utf8", 0, keyLength) as KeyText;
    const before = this.readBefore(tag, key, keyLength);
    if ((tag & TAGS.isPut) !== 0) {
      const entry = new StoredEntry(block, keyLength);
      this.brought.set(key, entry);
      return { kind: "put", key, entry, before };
    }
    this.brought.delete(key);
    return { kind: "delete", key, modRevision, before: present(before, "a deletion has an entry before it") };
  }

  private readBefore(tag: number, key: KeyText, keyLength: number): StoredEntry | undefined {
    if ((tag & TAGS.isBeforeInRow) !== 0) return present(this.brought.get(key), "the row brought the entry before");
    return (tag & TAGS.hasBefore) === 0 ? undefined : new StoredEntry(this.readBlock(), keyLength);
  }

  private readBlock(): Buffer {
    const length = this.readLength();
    const block = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return block;
  }

  private readLength(): number {
    const length = this.bytes.readUInt32LE(this.at);
    this.at += LENGTH_BYTES;
    return length;
  }
}
