// Owns: which rows of the history are on disk, which of them are too old, and the record that names them.
// Does not own: what is in a row (history-row.ts), reading and writing (kv-history.ts).
//
// The record is written in the same atomic write as the rows that it names for the first time. Rows are consecutive:
// where there is a hole, everything before it is forgotten.
import { decode, encode } from "../../base/codec.ts";
import { crc32 } from "../../base/digest.ts";
import { MiB } from "../../base/units.ts";

/** Revisions that watchers can go back, */
export const HISTORY_REVISIONS_MAX = 100_000;
/** as far as their changes, with the entries before them, are not more than this. */
export const HISTORY_BYTES_MAX = 256 * MiB;

/** How much of the past is kept. */
export interface HistoryBounds {
  readonly revisionsMax: number;
  readonly bytesMax: number;
  /** The oldest are forgotten when so many rows are too old: each time costs the store much, one row or many. */
  readonly rowsForgotten: number;
}

/** Version of the layout of the whole store: the record, and the rows. */
const HISTORY_FORMAT = 1;
const CHECKSUM_BYTES = 4;
/** A state on disk is the latest of these, or, after a crash, the one before. */
const SEALS_MAX = 4;

export interface HistoryRow {
  readonly first: number;
  readonly last: number;
  readonly bytes: number;
}

/** A state that the history leads to. Only a state that is one of these is continued. */
export interface HistorySeal {
  readonly revision: number;
  readonly stateHash: number;
}

export interface HistoryRecord {
  readonly cluster: string;
  /** The last few, oldest first. */
  readonly seals: readonly HistorySeal[];
  /** Consecutive, oldest first. */
  readonly rows: readonly HistoryRow[];
}

/** Row of the record: before all others. */
export const HISTORY_RECORD_ROW: Uint8Array = Uint8Array.from([0]);

/** Row that begins with this revision. In order of revisions. */
export function historyRowKey(first: number): Uint8Array {
  const key = Buffer.alloc(9);
  key[0] = 1;
  key.writeUIntBE(Math.floor(first / 2 ** 32), 1, 4);
  key.writeUInt32BE(first % 2 ** 32, 5);
  return key;
}

export function encodeHistoryRecord({ cluster, seals, rows }: HistoryRecord): Uint8Array {
  // Rows are consecutive: where one begins says where the one before ends.
  const lengths = rows.map(({ first, last, bytes }) => [last - first + 1, bytes]);
  const kept = seals.slice(-SEALS_MAX).map(({ revision, stateHash }) => [revision, stateHash]);
  const body = encode([HISTORY_FORMAT, cluster, kept, rows[0]?.first ?? 0, lengths.flat()]);
  const checksum = Buffer.allocUnsafe(CHECKSUM_BYTES);
  checksum.writeUInt32LE(crc32(body));
  return Buffer.concat([body, checksum]);
}

/** Undefined for anything that `encodeHistoryRecord` did not make. */
export function parseHistoryRecord(row: Uint8Array): HistoryRecord | undefined {
  const bytes = Buffer.from(row);
  const end = bytes.length - CHECKSUM_BYTES;
  if (end < 1 || crc32(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) return undefined;
  const fields = decode(bytes.subarray(0, end), end) as readonly unknown[];
  if (fields[0] !== HISTORY_FORMAT) return undefined;
  // The checksum matches: these are the fields that this version writes.
  const [, cluster, kept, first, lengths] = fields as [number, string, [number, number][], number, number[]];
  const seals = kept.map(([revision, stateHash]) => ({ revision, stateHash }));
  return { cluster, seals, rows: rowsOf(first, lengths) };
}

function rowsOf(firstOfAll: number, lengths: readonly number[]): readonly HistoryRow[] {
  const rows: HistoryRow[] = [];
  let first = firstOfAll;
  for (let at = 0; at + 1 < lengths.length; at += 2) {
    const [revisions = 0, bytes = 0] = lengths.slice(at, at + 2);
    rows.push({ first, last: first + revisions - 1, bytes });
    first += revisions;
  }
  return rows;
}

/** The rows that are there now, consecutive and oldest first. */
export class HistoryIndex {
  private rows: HistoryRow[];
  private heldBytes: number;
  private readonly bounds: HistoryBounds;

  constructor(rows: readonly HistoryRow[], bounds: HistoryBounds) {
    this.bounds = bounds;
    this.rows = [...rows];
    this.heldBytes = rows.reduce((sum, row) => sum + row.bytes, 0);
  }

  get all(): readonly HistoryRow[] {
    return this.rows;
  }

  /** Of all rows together. */
  get bytes(): number {
    return this.heldBytes;
  }

  get last(): HistoryRow | undefined {
    return this.rows.at(-1);
  }

  /** Adds the row that follows the last one, or takes the last one's place when it begins where that begins. */
  add(row: HistoryRow): void {
    if (this.last?.first === row.first) this.heldBytes -= this.rows.pop()?.bytes ?? 0;
    this.rows.push(row);
    this.heldBytes += row.bytes;
  }

  /** The row that has this revision. */
  find(revision: number): HistoryRow | undefined {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.rows[middle]?.last ?? 0) < revision) low = middle + 1;
      else high = middle;
    }
    const found = this.rows[low];
    return found !== undefined && found.first <= revision ? found : undefined;
  }

  /** Forgets and returns the rows that are too old, once they are many, when the history goes up to `newest`. */
  trim(newest: number): readonly HistoryRow[] {
    let count = 0;
    let { bytes } = this;
    const { revisionsMax, bytesMax } = this.bounds;
    for (const row of this.rows) {
      const isNeeded = newest - row.last < revisionsMax && bytes <= bytesMax;
      if (isNeeded) break;
      bytes -= row.bytes;
      count += 1;
    }
    return count < this.bounds.rowsForgotten ? [] : this.dropOldest(count);
  }

  /** Forgets and returns the rows that have no revision from this one on. */
  dropBefore(revision: number): readonly HistoryRow[] {
    const kept = this.rows.findIndex((row) => row.last >= revision);
    return this.dropOldest(kept === -1 ? this.rows.length : kept);
  }

  /** Forgets and returns the rows that have no revision up to this one. */
  dropAfter(revision: number): readonly HistoryRow[] {
    const kept = this.rows.filter((row) => row.first <= revision);
    const dropped = this.rows.slice(kept.length);
    this.rows = kept;
    this.heldBytes -= bytesOf(dropped);
    return dropped;
  }

  private dropOldest(count: number): readonly HistoryRow[] {
    if (count === 0) return [];
    const dropped = this.rows.slice(0, count);
    this.rows = this.rows.slice(count);
    this.heldBytes -= bytesOf(dropped);
    return dropped;
  }
}

function bytesOf(rows: readonly HistoryRow[]): number {
  return rows.reduce((sum, row) => sum + row.bytes, 0);
}
