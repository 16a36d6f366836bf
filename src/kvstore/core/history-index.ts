// Owns: which rows of the history there are, how far back they are offered, and the record that says so at a start.
// Does not own: what is in a row (history-row.ts), reading and writing (kv-history.ts).
//
// Rows are consecutive: where there is a hole, everything before it is forgotten. A row may name an entry by the
// revision that brought it. So the oldest rows may be there for others only: a revision is offered when everything
// that the rows from it on name is there.
import { decode, encode } from "../../base/codec.ts";
import { crc32 } from "../../base/digest.ts";
import { MiB } from "../../base/units.ts";
import type { HistoryRowHead } from "./history-row.ts";

/** Revisions that watchers can go back, */
export const HISTORY_REVISIONS_MAX = 100_000;
/** as far as what is kept for that is not more than this. */
export const HISTORY_BYTES_MAX = 256 * MiB;

/** How much of the past is kept. */
export interface HistoryBounds {
  readonly revisionsMax: number;
  readonly bytesMax: number;
  /** The oldest are forgotten when so many rows are too old: each time costs a write. */
  readonly rowsForgotten: number;
}

/** Version of the layout of the record. */
const HISTORY_FORMAT = 2;
const CHECKSUM_BYTES = 4;
/** A state on disk is the latest of these, or, after a crash, the one before. */
export const HISTORY_SEALS_MAX = 4;

export interface HistoryRow extends HistoryRowHead {
  /** Its number in the log. */
  readonly record: number;
  /** What it takes in the log, with earlier records whose place it took. */
  readonly bytes: number;
}

/** A state that the history leads to. Only a state that is one of these is continued. */
export interface HistorySeal {
  readonly revision: number;
  readonly stateHash: number;
}

export interface HistoryRecord {
  readonly cluster: string;
  /** The last `HISTORY_SEALS_MAX`, oldest first. */
  readonly seals: readonly HistorySeal[];
  /** Consecutive, oldest first. */
  readonly rows: readonly HistoryRow[];
  /** Records of the log from here on are rows that came later. */
  readonly nextRecord: number;
}

export function encodeHistoryRecord({ cluster, seals, rows, nextRecord }: HistoryRecord): Uint8Array {
  const fields = rows.flatMap(({ record, first, last, needs, bytes }) => [record, first, last, needs, bytes]);
  const kept = seals.map(({ revision, stateHash }) => [revision, stateHash]);
  const body = encode([HISTORY_FORMAT, cluster, kept, fields, nextRecord]);
  const checksum = Buffer.allocUnsafe(CHECKSUM_BYTES);
  checksum.writeUInt32LE(crc32(body));
  return Buffer.concat([body, checksum]);
}

/** Undefined for anything that `encodeHistoryRecord` did not make. */
export function parseHistoryRecord(row: Uint8Array): HistoryRecord | undefined {
  const bytes = Buffer.from(row);
  const end = bytes.length - CHECKSUM_BYTES;
  if (end < 1 || crc32(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) return undefined;
  const parts = decode(bytes.subarray(0, end), end) as readonly unknown[];
  if (parts[0] !== HISTORY_FORMAT) return undefined;
  // The checksum matches: these are the fields that this version writes.
  const [, cluster, kept, fields, nextRecord] = parts as [number, string, [number, number][], number[], number];
  const seals = kept.map(([revision, stateHash]) => ({ revision, stateHash }));
  return { cluster, seals, rows: rowsOf(fields), nextRecord };
}

function rowsOf(fields: readonly number[]): readonly HistoryRow[] {
  const rows: HistoryRow[] = [];
  for (let at = 0; at + 4 < fields.length; at += 5) {
    const [record = 0, first = 0, last = 0, needs = 0, bytes = 0] = fields.slice(at, at + 5);
    rows.push({ record, first, last, needs, bytes });
  }
  return rows;
}

/** The rows that are there now, consecutive and oldest first. */
export class HistoryIndex {
  private rows: HistoryRow[] = [];
  private heldBytes = 0;
  private readonly bounds: HistoryBounds;

  constructor(bounds: HistoryBounds) {
    this.bounds = bounds;
  }

  get all(): readonly HistoryRow[] {
    return this.rows;
  }

  /** Bytes of all rows. */
  get bytes(): number {
    return this.heldBytes;
  }

  get last(): HistoryRow | undefined {
    return this.rows.at(-1);
  }

  /** Adds the newest row. It takes the place of what begins where it begins, or later. */
  add(row: HistoryRow): void {
    const replaced = this.dropAfter(row.first - 1);
    if (this.last !== undefined && this.last.last < row.first - 1) this.clear();
    const bytes = row.bytes + bytesOf(replaced);
    this.rows.push({ ...row, bytes });
    this.heldBytes += bytes;
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

  /**
   * The oldest revision that the state can be taken back over, by these rows and the `open` one that follows them;
   * the one after the last of all when there is none.
   */
  offered(open: HistoryRowHead): number {
    const floor = this.rows[0]?.first ?? open.first;
    let offered = floor;
    for (const row of this.rows) if (row.needs < floor) offered = row.last + 1;
    return open.needs < floor ? open.last + 1 : offered;
  }

  /**
   * From which revision on entries may be named by a row that begins at `next`. Those before are in the older half of
   * what is kept, or too old: rows would have to stay for them alone.
   */
  oldestNamed(next: number): number {
    const { revisionsMax, bytesMax } = this.bounds;
    let bytes = 0;
    let oldest = next;
    for (let at = this.rows.length - 1; at >= 0; at--) {
      const row = this.rows[at];
      bytes += row?.bytes ?? 0;
      if (row === undefined || bytes * 2 > bytesMax || next - row.first > revisionsMax) break;
      oldest = row.first;
    }
    return oldest;
  }

  /** Forgets and returns the rows that are needed no more, once they are many. `open` is the one that follows. */
  trim(open: HistoryRowHead): readonly HistoryRow[] {
    const needed = this.oldestNeeded(open);
    let count = 0;
    let bytes = this.heldBytes;
    for (const row of this.rows) {
      if (row.last >= needed && bytes <= this.bounds.bytesMax) break;
      bytes -= row.bytes;
      count += 1;
    }
    return count < this.bounds.rowsForgotten ? [] : this.dropOldest(count);
  }

  /** Forgets the rows that have no revision from this one on. */
  dropBefore(revision: number): void {
    const kept = this.rows.findIndex((row) => row.last >= revision);
    this.dropOldest(kept === -1 ? this.rows.length : kept);
  }

  /** Forgets everything after this revision. Returns the rows that have nothing else. */
  dropAfter(revision: number): readonly HistoryRow[] {
    const dropped: HistoryRow[] = [];
    while (this.last !== undefined && this.last.first > revision) dropped.push(...this.rows.splice(-1));
    this.heldBytes -= bytesOf(dropped);
    const { last } = this;
    // The row itself stays as it is: it is read up to there.
    if (last !== undefined && last.last > revision) this.rows[this.rows.length - 1] = { ...last, last: revision };
    return dropped;
  }

  clear(): void {
    this.rows = [];
    this.heldBytes = 0;
  }

  private oldestNeeded(open: HistoryRowHead): number {
    let needed = open.needs;
    for (let at = this.rows.length - 1; at >= 0; at--) {
      const row = this.rows[at];
      if (row === undefined || open.last - row.last >= this.bounds.revisionsMax) break;
      needed = Math.min(needed, row.needs, row.first);
    }
    return needed;
  }

  private dropOldest(count: number): readonly HistoryRow[] {
    const dropped = this.rows.splice(0, count);
    this.heldBytes -= bytesOf(dropped);
    return dropped;
  }
}

function bytesOf(rows: readonly HistoryRow[]): number {
  return rows.reduce((sum, row) => sum + row.bytes, 0);
}
