// Owns: consecutive revisions with their changes as bytes: one row of the history, and its checksum.
// Does not own: which rows there are (history-index.ts), where they are kept (kv-history.ts).
//
// A row is: format 1 | first revision 8 | number of revisions 4 | oldest revision needed 8 | revisions | checksum 4.
// A revision is the number of its changes 4, then per change: tag 1 | length of the key 2 | length of a put's block 4 |
// the entry before | a put's block, a deletion's key. The entry before is a revision 8 whose change of this key
// brought it, or a length 4 and a block, or nothing.
//
// A row is made revision by revision, each copied when it comes: nothing keeps the objects of a change alive.
import { crc32 } from "../../base/digest.ts";
import { MiB } from "../../base/units.ts";
import type { KeyText } from "./key.ts";
import type { StoredChange } from "./state-machine.ts";
import { StoredEntry } from "./stored-entry.ts";

/**
 * The entry that a change replaced: itself, or the earlier revision that brought it, whose last change of that key is
 * its put. Undefined when there was none.
 */
export type EntryBefore = StoredEntry | number | undefined;

/** A change as the history gives it back. */
export type PastChange =
  | { readonly kind: "put"; readonly key: KeyText; readonly entry: StoredEntry; readonly before: EntryBefore }
  | { readonly kind: "delete"; readonly key: KeyText; readonly modRevision: number; readonly before: EntryBefore };

/** What one revision changed, in the order of its transaction, for keys that users can see. May be nothing. */
export interface RevisionChanges {
  readonly revision: number;
  readonly changes: readonly PastChange[];
}

/** What a row says of itself without being read whole. */
export interface HistoryRowHead {
  readonly first: number;
  readonly last: number;
  /** The oldest revision that it names as one that brought an entry; its own first one when it names none. */
  readonly needs: number;
}

export interface HistoryRowPart extends HistoryRowHead {
  readonly bytes: Uint8Array;
}

const ROW_FORMAT = 2;
const HEADER_BYTES = 1 + 8 + 4 + 8;
const CHECKSUM_BYTES = 4;
const COUNT_BYTES = 4;
/** A change without blocks and keys, at most. */
const CHANGE_BYTES_MAX = 1 + 2 + 4 + 8;

const TAGS = { isPut: 1, hasBefore: 2, isBeforeNamed: 4 } as const;

/** One row that is being made. */
export class HistoryRowBuilder {
  /** Its first revision. */
  readonly first: number;
  private readonly oldestNamed: number;
  private bytes: Buffer;
  private at = HEADER_BYTES;
  private count = 0;
  private oldestNeeded: number;
  /** What `takePart` gave already. */
  private partAt = HEADER_BYTES;
  private partCount = 0;

  /** Entries that came before revision `oldestNamed` are copied, the others are named by their revision. */
  constructor(options: { readonly first: number; readonly oldestNamed: number; readonly bytesExpected: number }) {
    this.first = options.first;
    this.oldestNamed = options.oldestNamed;
    this.oldestNeeded = options.first;
    this.bytes = Buffer.allocUnsafeSlow(HEADER_BYTES + options.bytesExpected + CHECKSUM_BYTES);
  }

  /** Bytes of a row of all that was added. */
  get byteLength(): number {
    return this.at + CHECKSUM_BYTES;
  }

  /** The revision that comes next. */
  get next(): number {
    return this.first + this.count;
  }

  get needs(): number {
    return this.oldestNeeded;
  }

  /** Adds the changes of revision `next`; those of rows of the store's own are left out. */
  add(changes: readonly StoredChange[]): void {
    this.reserve(changes);
    const countAt = this.at;
    this.at += COUNT_BYTES;
    let visible = 0;
    for (const change of changes) {
      if (isHidden(change)) continue;
      this.addChange(change);
      visible += 1;
    }
    this.bytes.writeUInt32LE(visible, countAt);
    this.count += 1;
  }

  /** What was added so far. */
  items(): readonly RevisionChanges[] {
    return new RowReader(this.bytes.subarray(0, this.at), this.first, this.count).read() ?? [];
  }

  /** The row of all that was added: the last call. Undefined when nothing was. */
  finish(): HistoryRowPart | undefined {
    if (this.count === 0) return undefined;
    return this.seal(this.bytes.subarray(0, this.at + CHECKSUM_BYTES), this.first, this.count);
  }

  /** A row of what was added since the last call; undefined when nothing was. */
  takePart(): HistoryRowPart | undefined {
    const count = this.count - this.partCount;
    if (count === 0) return undefined;
    const bytes = Buffer.allocUnsafeSlow(HEADER_BYTES + this.at - this.partAt + CHECKSUM_BYTES);
    this.bytes.copy(bytes, HEADER_BYTES, this.partAt, this.at);
    const first = this.first + this.partCount;
    this.partAt = this.at;
    this.partCount = this.count;
    return this.seal(bytes, first, count);
  }

  private seal(bytes: Buffer, first: number, count: number): HistoryRowPart {
    const needs = Math.min(first, this.oldestNeeded);
    bytes[0] = ROW_FORMAT;
    bytes.writeDoubleLE(first, 1);
    bytes.writeUInt32LE(count, 9);
    bytes.writeDoubleLE(needs, 13);
    const end = bytes.length - CHECKSUM_BYTES;
    bytes.writeUInt32LE(crc32(bytes.subarray(0, end)), end);
    return { first, last: first + count - 1, needs, bytes };
  }

  private reserve(changes: readonly StoredChange[]): void {
    let wanted = this.at + COUNT_BYTES + CHECKSUM_BYTES;
    for (const change of changes) {
      wanted += CHANGE_BYTES_MAX + (change.before?.block.length ?? 0) + COUNT_BYTES;
      wanted += change.kind === "put" ? change.entry.block.length : change.before.keyLength;
    }
    if (wanted <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(wanted + Math.min(wanted, MiB));
    this.bytes.copy(grown, 0, 0, this.at);
    this.bytes = grown;
  }

  private addChange(change: StoredChange): void {
    const { before } = change;
    const { bytes } = this;
    // One of the same transaction is not the last change of its key in its revision.
    const isNamed = before !== undefined && before.modRevision >= this.oldestNamed && before.modRevision < this.next;
    const beforeTag = before === undefined ? 0 : isNamed ? TAGS.isBeforeNamed : TAGS.hasBefore;
    bytes[this.at] = (change.kind === "put" ? TAGS.isPut : 0) | beforeTag;
    if (change.kind === "put") {
      bytes.writeUInt16LE(change.entry.keyLength, this.at + 1);
      this.at = bytes.writeUInt32LE(change.entry.block.length, this.at + 3);
    } else this.at = bytes.writeUInt16LE(change.before.keyLength, this.at + 1);
    if (isNamed) this.addName(before.modRevision);
    else if (before !== undefined) {
      this.at = bytes.writeUInt32LE(before.block.length, this.at);
      this.addBytes(before.block);
    }
    if (change.kind === "put") this.addBytes(change.entry.block);
    else this.addBytes(change.before.block.subarray(0, change.before.keyLength));
  }

  private addName(revision: number): void {
    this.at = this.bytes.writeDoubleLE(revision, this.at);
    if (revision < this.oldestNeeded) this.oldestNeeded = revision;
  }

  private addBytes(block: Buffer): void {
    this.bytes.set(block, this.at);
    this.at += block.length;
  }
}

/** What the row says of itself; undefined when it is not as it was written. */
export function parseHistoryRowHead(row: Uint8Array): HistoryRowHead | undefined {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  const end = bytes.length - CHECKSUM_BYTES;
  if (end < HEADER_BYTES || bytes[0] !== ROW_FORMAT) return undefined;
  if (crc32(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) return undefined;
  const first = bytes.readDoubleLE(1);
  return { first, last: first + bytes.readUInt32LE(9) - 1, needs: bytes.readDoubleLE(13) };
}

/** The items of a row; undefined when it is not as it was written. */
export function decodeHistoryRow(row: Uint8Array): readonly RevisionChanges[] | undefined {
  const head = parseHistoryRowHead(row);
  if (head === undefined) return undefined;
  const body = Buffer.from(row.buffer, row.byteOffset, row.byteLength - CHECKSUM_BYTES);
  return new RowReader(body, head.first, head.last - head.first + 1).read();
}

/** Nobody sees rows of the store's own, whose keys begin with a control character. */
export function visibleChanges(changes: readonly StoredChange[]): readonly StoredChange[] {
  for (const change of changes) {
    if (isHidden(change)) return changes.filter((one) => !isHidden(one));
  }
  return changes;
}

function isHidden({ key }: StoredChange): boolean {
  return key < " ";
}

/** Reads what a builder wrote: its checksum was looked at before. */
class RowReader {
  private readonly bytes: Buffer;
  private readonly first: number;
  private readonly count: number;
  private at = HEADER_BYTES;

  constructor(bytes: Buffer, first: number, count: number) {
    this.bytes = bytes;
    this.first = first;
    this.count = count;
  }

  read(): readonly RevisionChanges[] | undefined {
    const items: RevisionChanges[] = [];
    for (let index = 0; index < this.count; index++) {
      const revision = this.first + index;
      items.push({ revision, changes: this.readChanges(revision) });
    }
    return this.at === this.bytes.length ? items : undefined;
  }

  private readChanges(revision: number): readonly PastChange[] {
    const count = this.readCount();
    const changes: PastChange[] = [];
    for (let index = 0; index < count; index++) changes.push(this.readChange(revision));
    return changes;
  }

  private readChange(modRevision: number): PastChange {
    const tag = this.bytes[this.at] ?? 0;
    const keyLength = this.bytes.readUInt16LE(this.at + 1);
    this.at += 3;
    if ((tag & TAGS.isPut) === 0) {
      const before = this.readBefore(tag, keyLength);
      return { kind: "delete", key: keyOf(this.readBytes(keyLength), keyLength), modRevision, before };
    }
    const length = this.readCount();
    const before = this.readBefore(tag, keyLength);
    const block = this.readBytes(length);
    return { kind: "put", key: keyOf(block, keyLength), entry: StoredEntry.fromBlock(block, keyLength), before };
  }

  private readBefore(tag: number, keyLength: number): EntryBefore {
    if ((tag & TAGS.hasBefore) !== 0) return StoredEntry.fromBlock(this.readBytes(this.readCount()), keyLength);
    if ((tag & TAGS.isBeforeNamed) === 0) return undefined;
    this.at += 8;
    return this.bytes.readDoubleLE(this.at - 8);
  }

  private readBytes(length: number): Buffer {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  private readCount(): number {
    this.at += COUNT_BYTES;
    return this.bytes.readUInt32LE(this.at - COUNT_BYTES);
  }
}

/** Only parsed keys are ever written. */
function keyOf(block: Buffer, keyLength: number): KeyText {
  return block.toString("utf8", 0, keyLength) as KeyText;
}
