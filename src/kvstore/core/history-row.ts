// Owns: consecutive revisions with their changes as bytes: one row of the history, and its checksum.
// Does not own: which rows there are (history-index.ts), where they are kept (kv-history.ts).
//
// A row is: format 1 | first revision 8 | revisions 4 | bytes of the outline 4 | outline | blocks | checksum 4.
// The outline has, per revision, the number of its changes 4, and per change: tag 1 | length of the key 2 | a put's
// block, a deletion's key | the block of the entry before, if any. A block is named by its length 4 and its own
// checksum 4, a key by itself. An entry that the same row brought is not repeated.
// The checksum covers everything but the blocks, each of which carries one: writing a row costs little.
import { crc32 } from "../../base/digest.ts";
import type { KeyText } from "./key.ts";
import type { StoredChange } from "./state-machine.ts";
import { StoredEntry } from "./stored-entry.ts";

/** What one revision changed, in the order of its transaction, for keys that users can see. May be nothing. */
export interface RevisionChanges {
  readonly revision: number;
  readonly changes: readonly StoredChange[];
}

const ROW_FORMAT = 1;
const HEADER_BYTES = 1 + 8 + 4 + 4;
const CHECKSUM_BYTES = 4;
const CHANGE_BYTES = 1 + 2;
const NAME_BYTES = 4 + 4;
const COUNT_BYTES = 4;

const TAGS = { isPut: 1, hasBefore: 2, isBeforeInRow: 4 } as const;

/** `items` are consecutive revisions, at least one. */
export function encodeHistoryRow(items: readonly RevisionChanges[]): Uint8Array {
  const first = items[0]?.revision ?? 0;
  const writer = new RowWriter(sizesOf(items, first), first, items.length);
  for (const { changes } of items) writer.addRevision(changes);
  return writer.finish();
}

/** The items of a row; undefined when it is not as it was written. */
export function decodeHistoryRow(row: Uint8Array): readonly RevisionChanges[] | undefined {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  if (bytes.length < HEADER_BYTES + CHECKSUM_BYTES || bytes[0] !== ROW_FORMAT) return undefined;
  const blocksAt = HEADER_BYTES + bytes.readUInt32LE(13);
  const end = bytes.length - CHECKSUM_BYTES;
  if (blocksAt > end || crc32(bytes.subarray(0, blocksAt)) !== bytes.readUInt32LE(end)) return undefined;
  return new RowReader(bytes, blocksAt).read();
}

/** Whether the entry before can be found in the same row, because the row brought it. */
function isInRow(before: StoredEntry, first: number): boolean {
  return before.modRevision >= first;
}

interface Sizes {
  readonly outline: number;
  readonly blocks: number;
}

function sizesOf(items: readonly RevisionChanges[], first: number): Sizes {
  let outline = 0;
  let blocks = 0;
  for (const { changes } of items) {
    outline += COUNT_BYTES;
    for (const change of changes) {
      const { before } = change;
      outline += CHANGE_BYTES;
      if (change.kind === "put") {
        outline += NAME_BYTES;
        blocks += change.entry.block.length;
      } else outline += change.before.keyLength;
      if (before === undefined || isInRow(before, first)) continue;
      outline += NAME_BYTES;
      blocks += before.block.length;
    }
  }
  return { outline, blocks };
}

class RowWriter {
  private readonly bytes: Buffer;
  private readonly first: number;
  private readonly outlineEnd: number;
  private at = HEADER_BYTES;
  private blockAt: number;

  constructor({ outline, blocks }: Sizes, first: number, revisions: number) {
    this.first = first;
    this.outlineEnd = HEADER_BYTES + outline;
    this.blockAt = this.outlineEnd;
    this.bytes = Buffer.allocUnsafe(this.outlineEnd + blocks + CHECKSUM_BYTES);
    this.bytes[0] = ROW_FORMAT;
    this.bytes.writeDoubleLE(first, 1);
    this.bytes.writeUInt32LE(revisions, 9);
    this.bytes.writeUInt32LE(outline, 13);
  }

  addRevision(changes: readonly StoredChange[]): void {
    this.at = this.bytes.writeUInt32LE(changes.length, this.at);
    for (const change of changes) this.addChange(change);
  }

  finish(): Uint8Array {
    this.bytes.writeUInt32LE(crc32(this.bytes.subarray(0, this.outlineEnd)), this.blockAt);
    return this.bytes;
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
      this.at += change.before.block.copy(this.bytes, this.at, 0, change.before.keyLength);
    }
    if (before !== undefined && !isBeforeInRow) this.addBlock(before.block);
  }

  private addBlock(block: Buffer): void {
    this.at = this.bytes.writeUInt32LE(block.length, this.at);
    this.at += block.copy(this.bytes, this.at, block.length - CHECKSUM_BYTES);
    this.blockAt += block.copy(this.bytes, this.blockAt);
  }
}

class RowReader {
  private readonly bytes: Buffer;
  private at = HEADER_BYTES;
  private blockAt: number;
  /** The newest entry of each key that the row brought so far. */
  private readonly brought = new Map<KeyText, StoredEntry>();

  constructor(bytes: Buffer, blocksAt: number) {
    this.bytes = bytes;
    this.blockAt = blocksAt;
  }

  read(): readonly RevisionChanges[] | undefined {
    const first = this.bytes.readDoubleLE(1);
    const items: RevisionChanges[] = [];
    const count = this.bytes.readUInt32LE(9);
    for (let index = 0; index < count; index++) {
      const changes = this.readChanges(first + index);
      if (changes === undefined) return undefined;
      items.push({ revision: first + index, changes });
    }
    return this.blockAt === this.bytes.length - CHECKSUM_BYTES ? items : undefined;
  }

  private readChanges(revision: number): readonly StoredChange[] | undefined {
    const count = this.readCount();
    const changes: StoredChange[] = [];
    for (let index = 0; index < count; index++) {
      const change = this.readChange(revision);
      if (change === undefined) return undefined;
      changes.push(change);
    }
    return changes;
  }

  /** The outline is as it was written; blocks may be damaged. */
  private readChange(modRevision: number): StoredChange | undefined {
    const tag = this.bytes[this.at++] ?? 0;
    const keyLength = this.bytes.readUInt16LE(this.at);
    this.at += 2;
    if ((tag & TAGS.isPut) !== 0) return this.readPut(tag, keyLength);
    const key = keyOf(this.bytes.subarray(this.at), keyLength);
    this.at += keyLength;
    const before = this.readBefore(tag, key, keyLength);
    this.brought.delete(key);
    return before && { kind: "delete", key, modRevision, before };
  }

  private readPut(tag: number, keyLength: number): StoredChange | undefined {
    const block = this.readBlock();
    if (block === undefined) return undefined;
    const entry = new StoredEntry(block, keyLength);
    const key = keyOf(block, keyLength);
    const before = this.readBefore(tag, key, keyLength);
    if (before === undefined && (tag & (TAGS.hasBefore | TAGS.isBeforeInRow)) !== 0) return undefined;
    this.brought.set(key, entry);
    return { kind: "put", key, entry, before };
  }

  private readBefore(tag: number, key: KeyText, keyLength: number): StoredEntry | undefined {
    if ((tag & TAGS.isBeforeInRow) !== 0) return this.brought.get(key);
    const block = (tag & TAGS.hasBefore) === 0 ? undefined : this.readBlock();
    return block && new StoredEntry(block, keyLength);
  }

  private readBlock(): Buffer | undefined {
    const length = this.readCount();
    const checksum = this.readCount();
    const block = this.bytes.subarray(this.blockAt, this.blockAt + length);
    this.blockAt += length;
    const end = length - CHECKSUM_BYTES;
    if (block.length < length || block.readUInt32LE(end) !== checksum) return undefined;
    return crc32(block.subarray(0, end)) === checksum ? block : undefined;
  }

  private readCount(): number {
    const count = this.bytes.readUInt32LE(this.at);
    this.at += COUNT_BYTES;
    return count;
  }
}

/** Only parsed keys are ever written. */
function keyOf(block: Buffer, keyLength: number): KeyText {
  return block.toString("utf8", 0, keyLength) as KeyText;
}
