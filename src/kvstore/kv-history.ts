// Owns: the recent past of the store, revision by revision: where it is read, when it goes to the disk.
// Does not own: the state, who reads the past (watch-hub.ts, past-reads.ts), and what the bytes of a row mean
// (core/history-row.ts).
//
// A revision is copied into the row that is being made; a row that is full becomes a record of a log of its own. Before
// a checkpoint what has come since goes to the log as a small row, which the full one replaces later.
//
// It is only for readers: whatever is wrong with its log, the past is shorter, never different. It always reaches up
// to the applied revision without a hole. It is on disk before the checkpoint of the same moment, so that a state that
// was loaded finds the past that led to it; what is on disk beyond that state is applied, and recorded, again.
import { AetherError, toAetherError } from "../base/errors.ts";
import { KiB, MiB } from "../base/units.ts";
import type { AppendLog } from "../env/append-log.ts";
import type { Log } from "../env/telemetry.ts";
import {
  encodeHistoryRecord, HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX, HISTORY_SEALS_MAX, HistoryIndex, parseHistoryRecord,
  type HistoryBounds, type HistoryRecord, type HistoryRow, type HistorySeal,
} from "./core/history-index.ts";
import {
  decodeHistoryRow, HistoryRowBuilder, parseHistoryRowHead, visibleChanges,
  type HistoryRowHead, type HistoryRowPart, type RevisionChanges,
} from "./core/history-row.ts";
import { RecentChanges, type RecentBounds } from "./core/recent-changes.ts";
import type { StoredChange } from "./core/state-machine.ts";
import type { KvState } from "./kv-state.ts";

/** About this much in one row: what a reader of the past gets at once. */
const ROW_BYTES = 256 * KiB;
/** Rows that are forgotten together, about 16 MiB: until then the past is that much longer. */
const ROWS_FORGOTTEN = 64;
/** Revisions kept as objects, while their changes are not more than that. */
const RECENT_REVISIONS = 512;
const RECENT_BYTES = 1 * MiB;
/** Changes in memory when there is no disk. */
const MEMORY_BYTES_MAX = 16 * MiB;
/** Rows that wait for the disk: when it cannot keep up, the past begins anew once half of them are there. */
const WAITING_BYTES_MAX = 64 * MiB;
/** Decoded rows kept for readers that are at about the same place. */
const DECODED_ROWS_MAX = 8;

const SIZES: HistorySizes = {
  revisionsMax: HISTORY_REVISIONS_MAX,
  bytesMax: HISTORY_BYTES_MAX,
  rowsForgotten: ROWS_FORGOTTEN,
  rowBytes: ROW_BYTES,
  recentRevisions: RECENT_REVISIONS,
  recentBytes: RECENT_BYTES,
  waitingBytes: WAITING_BYTES_MAX,
};
const NOTHING: readonly RevisionChanges[] = [];

type HistoryState = Pick<KvState, "revision" | "stateHash" | "onChanges" | "onReset" | "precedeCheckpoints">;

export interface KvHistoryOptions {
  readonly state: HistoryState;
  /** The open log of the past of this node. Its opener closes it, after the state. */
  readonly disk: AppendLog;
  readonly log: Log;
  readonly cluster: string;
  /** Smaller sizes, for tests. */
  readonly sizes?: HistorySizes;
}

export interface HistorySizes extends HistoryBounds, RecentBounds {
  readonly rowBytes: number;
  readonly waitingBytes: number;
}

export interface HistoryListener {
  /** Inside the application of a command: there is a new revision. */
  onAppended(): void;
  /** The past up to this revision is gone, and the state is of this revision. */
  onReset(revision: number): void;
}

/** A record to be put in place once every row that it names is on the disk. */
interface PendingRecord {
  readonly bytes: Uint8Array;
  readonly firstKept: number;
  /** The newest row it needs. */
  readonly lastNeeded: number;
  readonly waiting: (() => void)[];
}

export class KvHistory {
  private readonly state: HistoryState;
  private readonly log: Log | undefined;
  private readonly cluster: string;
  private readonly sizes: HistorySizes;
  /** Undefined when there is none, or none any more: then rows stay in memory. */
  private disk: AppendLog | undefined;
  private index: HistoryIndex;
  private seals: HistorySeal[] = [];
  private openRow: HistoryRowBuilder;
  private openItems: readonly RevisionChanges[] = NOTHING;
  private readonly recent: RecentChanges;
  private newest: number;
  /** The oldest revision that closed rows and the open one allow readers to begin at. */
  private offered: number;
  /** Rows that are only in memory: on the way to the disk, or without one. By their record. */
  private readonly held = new Map<number, Uint8Array>();
  private heldBytes = 0;
  /** The disk has too much to do: nothing is given to it. */
  private isBehind = false;
  /** The newest record that is on the disk. */
  private landed = 0;
  /** Numbers of rows without a disk. */
  private lastHeld = 0;
  private readonly pending: PendingRecord[] = [];
  private isCutting = false;
  private readonly decoded = new Map<number, readonly RevisionChanges[]>();
  private readonly listeners = new Set<HistoryListener>();

  /** Begins at the state as it is: open it before anything is applied. Never fails for what is on the disk. */
  static open(options: KvHistoryOptions): KvHistory {
    const history = new KvHistory(options.state, options);
    history.load(options.disk);
    return history;
  }

  /** A history without a disk. */
  static inMemory(state: HistoryState): KvHistory {
    return new KvHistory(state);
  }

  private constructor(state: HistoryState, options?: KvHistoryOptions) {
    this.state = state;
    this.disk = options?.disk;
    this.log = options?.log;
    this.cluster = options?.cluster ?? "";
    this.sizes = options?.sizes ?? SIZES;
    this.index = this.emptyIndex();
    this.recent = new RecentChanges(this.sizes);
    this.newest = state.revision;
    this.offered = this.newest + 1;
    this.openRow = this.newRow();
    state.onChanges((revision, changes) => this.append(revision, changes));
    state.onReset((revision) => this.reset(revision));
    state.precedeCheckpoints((ready) => this.seal(ready));
  }

  /** The oldest revision whose changes are held; above `revision` when none are. */
  get oldest(): number {
    return Math.min(this.offered, this.recentOldest);
  }

  /** The applied revision. */
  get revision(): number {
    return this.newest;
  }

  /** Whether reading from there gives objects that are in memory anyway. */
  isRecent(from: number): boolean {
    return from >= this.recentOldest;
  }

  /** What the revisions weigh that are held, but for a few that are there as objects as well. */
  get weight(): { readonly memoryBytes: number; readonly diskBytes: number } {
    const { bytes } = this.index;
    const waitingBytes = this.openRow.byteLength + this.heldBytes;
    if (this.disk === undefined) return { memoryBytes: waitingBytes + bytes, diskBytes: 0 };
    return { memoryBytes: waitingBytes, diskBytes: bytes };
  }

  listen(listener: HistoryListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /**
   * The next revisions from `from` on: some, as many as can be had at once; none when it is in the future.
   * @throws AetherError E_COMPACTED when `from` is not held
   */
  read(from: number): readonly RevisionChanges[] {
    if (from > this.newest) return NOTHING;
    if (this.isRecent(from)) return this.recent.last(this.newest - from + 1);
    const items = from < this.oldest ? undefined : this.readRowOf(from);
    if (items === undefined) throw compacted(from, this.oldest, this.newest);
    return items.slice(from - (items[0]?.revision ?? from));
  }

  /**
   * The row that has a revision which a change names as the one that brought the entry before it.
   * @throws AetherError E_COMPACTED when it is not there any more
   */
  readNamed(revision: number): readonly RevisionChanges[] {
    const items = this.readRowOf(revision);
    if (items === undefined) throw compacted(revision, this.oldest, this.newest);
    return items;
  }

  private get recentOldest(): number {
    return this.newest - this.recent.count + 1;
  }

  private readRowOf(revision: number): readonly RevisionChanges[] | undefined {
    if (revision >= this.openRow.first) return this.readOpenRow();
    const row = this.index.find(revision);
    return row === undefined ? undefined : this.readRow(row);
  }

  private load(disk: AppendLog): void {
    this.landed = disk.last;
    const record = disk.base === undefined ? undefined : parseHistoryRecord(disk.base);
    this.seals = [...(record?.seals ?? [])];
    if (record !== undefined) this.loadRows(disk, record);
    const isContinued = this.isSealed(record) && this.cutToState();
    if (!isContinued) this.forget();
    this.addSeal();
    this.openRow = this.newRow();
    this.judge();
    if (!isContinued && disk.last > 0) this.putRecord([]);
  }

  private loadRows(disk: AppendLog, record: HistoryRecord): void {
    const rows: HistoryRow[] = [];
    const oldest = Math.max(disk.first, record.nextRecord);
    let number = disk.last;
    // Newest first: nothing before what cannot be read continues what follows it. And what a damaged log says of its
    // beginning and its end is not to be believed: between them may be more numbers than anybody can go through.
    for (; number >= oldest; number--) {
      const bytes = this.readRecord(number);
      const head = bytes && parseHistoryRowHead(bytes);
      if (bytes === undefined || head === undefined) break;
      rows.push({ ...head, record: number, bytes: bytes.length });
    }
    const isWhole = number < oldest;
    for (const row of isWhole ? record.rows : []) {
      if (row.record >= disk.first && row.record <= disk.last) this.index.add(row);
    }
    for (const row of rows.reverse()) this.index.add(row);
  }

  /** Whether it is the past of this very state, not of another one with the same revision. */
  private isSealed(record: HistoryRecord | undefined): boolean {
    const { revision, stateHash } = this.state;
    const matches = (seal: HistorySeal): boolean => seal.revision === revision && seal.stateHash === stateHash;
    return record?.cluster === this.cluster && record.seals.some(matches);
  }

  /** What is beyond the state is applied again. False when the past does not reach the state. */
  private cutToState(): boolean {
    this.index.dropAfter(this.newest);
    const { last } = this.index;
    return last === undefined || last.last === this.newest;
  }

  /** Nothing of it can be used: the past begins anew. */
  private forget(): void {
    this.seals = [];
    this.index = this.emptyIndex();
  }

  private append(revision: number, changes: readonly StoredChange[]): void {
    if (revision <= this.newest) return;
    if (revision > this.newest + 1) this.beginAnew(revision - 1);
    const { openRow } = this;
    const bytesBefore = openRow.byteLength;
    openRow.add(changes);
    this.newest = revision;
    this.recent.push({ revision, changes: visibleChanges(changes) }, openRow.byteLength - bytesBefore);
    if (openRow.byteLength >= this.sizes.rowBytes) this.closeRow();
    for (const listener of this.listeners) listener.onAppended();
  }

  private reset(revision: number): void {
    this.beginAnew(revision);
    for (const listener of this.listeners) listener.onReset(revision);
  }

  private beginAnew(revision: number): void {
    this.dropAll(revision);
    this.putRecord([]);
  }

  private dropAll(revision: number): void {
    this.seals = [];
    this.index = this.emptyIndex();
    this.recent.clear();
    this.decoded.clear();
    if (this.disk === undefined) this.held.clear();
    this.newest = revision;
    this.openRow = this.newRow();
    this.judge();
  }

  /** The open row is full, or what follows must not need what it needs: the next one begins. */
  private closeRow(): void {
    const row = this.openRow.finish();
    if (row === undefined) return;
    if (this.isBehind) {
      this.dropAll(this.newest);
      return;
    }
    this.handOver(row);
    this.openRow = this.newRow();
    const dropped = this.index.trim(this.openHead());
    this.judge();
    for (const { record } of dropped) this.decoded.delete(record);
    if (dropped.length === 0) return;
    if (this.disk === undefined) for (const { record } of dropped) this.held.delete(record);
    else this.putRecord([]);
  }

  private newRow(): HistoryRowBuilder {
    const first = this.newest + 1;
    this.openItems = NOTHING;
    return new HistoryRowBuilder({
      first,
      oldestNamed: this.index.oldestNamed(first),
      bytesExpected: this.sizes.rowBytes,
    });
  }

  private openHead(): HistoryRowHead {
    const { first, next, needs } = this.openRow;
    return { first, last: next - 1, needs };
  }

  private judge(): void {
    this.offered = this.index.offered(this.openHead());
  }

  private handOver({ bytes, first, last, needs }: HistoryRowPart): void {
    const { disk } = this;
    const record = disk === undefined ? ++this.lastHeld : disk.last + 1;
    this.index.add({ first, last, needs, record, bytes: bytes.length });
    this.held.set(record, bytes);
    if (disk === undefined) return;
    this.heldBytes += bytes.length;
    disk.append(bytes, (failure) => {
      if (disk !== this.disk) return;
      this.landed = record;
      this.held.delete(record);
      this.heldBytes -= bytes.length;
      if (this.heldBytes * 2 <= this.sizes.waitingBytes) this.isBehind = false;
      if (failure === undefined) this.advanceRecords();
      else this.abandonDisk(failure);
    });
    if (this.heldBytes <= this.sizes.waitingBytes) return;
    this.log?.warn({ event: "kv.history-too-slow", waitingBytes: this.heldBytes });
    this.isBehind = true;
    this.beginAnew(this.newest);
  }

  /** Everything so far goes to the disk, together with the state that it leads to. */
  private seal(done: () => void): void {
    // What is not on the disk will not be missed: a start that finds no past begins a new one.
    if (this.disk === undefined || this.isBehind) {
      done();
      return;
    }
    const { revision, stateHash } = this.state;
    const last = this.seals.at(-1);
    const isNew = last?.revision !== revision || last.stateHash !== stateHash;
    if (!isNew && this.pending.length === 0) {
      done();
      return;
    }
    if (isNew) this.addSeal();
    const part = this.openRow.takePart();
    if (part !== undefined) this.handOver(part);
    this.putRecord([done]);
  }

  private addSeal(): void {
    const { revision, stateHash } = this.state;
    this.seals = [...this.seals, { revision, stateHash }].slice(-HISTORY_SEALS_MAX);
  }

  /** The record as of now goes to the disk, after the rows that it names. */
  private putRecord(waiting: (() => void)[]): void {
    const { disk, cluster, seals, index } = this;
    if (disk === undefined) {
      for (const done of waiting) done();
      return;
    }
    const nextRecord = disk.last + 1;
    const bytes = encodeHistoryRecord({ cluster, seals, rows: index.all, nextRecord });
    const firstKept = index.all[0]?.record ?? nextRecord;
    this.pending.push({ bytes, firstKept, lastNeeded: disk.last, waiting });
    this.advanceRecords();
  }

  private advanceRecords(): void {
    const { disk } = this;
    const [next] = this.pending;
    if (disk === undefined || next === undefined || this.isCutting || next.lastNeeded > this.landed) return;
    this.isCutting = true;
    disk.cut(next.firstKept, next.bytes, (failure) => {
      this.isCutting = false;
      if (disk !== this.disk) return;
      this.pending.shift();
      if (failure !== undefined) this.abandonDisk(failure);
      for (const done of next.waiting) done();
      this.advanceRecords();
    });
  }

  /** From here on the past is what memory holds. */
  private abandonDisk(reason: unknown): void {
    if (this.disk === undefined) return;
    this.disk = undefined;
    // What is no error of ours comes from the disk.
    const code = reason instanceof AetherError ? reason.code : "E_DISK";
    const { message } = toAetherError(reason);
    this.log?.error({ event: "kv.history-abandoned", code, reason: message });
    this.index = this.emptyIndex();
    this.held.clear();
    this.heldBytes = 0;
    this.isBehind = false;
    this.decoded.clear();
    this.closeRow();
    this.judge();
    for (const { waiting } of this.pending.splice(0)) for (const done of waiting) done();
  }

  private emptyIndex(): HistoryIndex {
    const { sizes } = this;
    const inMemory = { revisionsMax: sizes.revisionsMax, bytesMax: MEMORY_BYTES_MAX, rowsForgotten: 1 };
    return new HistoryIndex(this.disk === undefined ? inMemory : sizes);
  }

  private readOpenRow(): readonly RevisionChanges[] {
    const { openRow } = this;
    if (this.openItems.length < openRow.next - openRow.first) this.openItems = openRow.items();
    return this.openItems;
  }

  private readRow(row: HistoryRow): readonly RevisionChanges[] | undefined {
    const { disk } = this;
    const items = this.decoded.get(row.record) ?? this.decodeRow(row);
    const count = row.last - row.first + 1;
    if (items !== undefined) return items.length > count ? items.slice(0, count) : items;
    // The disk failed, which was told, and all that it has is given up: that is no damage.
    if (disk !== this.disk) return undefined;
    this.log?.error({ event: "kv.history-damaged", first: row.first, last: row.last });
    this.index.dropBefore(row.last + 1);
    // What it names may be gone: what comes from here on names only what is there.
    this.closeRow();
    this.judge();
    return undefined;
  }

  private decodeRow(row: HistoryRow): readonly RevisionChanges[] | undefined {
    const bytes = this.held.get(row.record) ?? this.readRecord(row.record);
    const items = bytes && decodeHistoryRow(bytes);
    if (items?.[0]?.revision !== row.first || (items.at(-1)?.revision ?? 0) < row.last) return undefined;
    for (const oldest of this.decoded.keys()) {
      if (this.decoded.size < DECODED_ROWS_MAX) break;
      this.decoded.delete(oldest);
    }
    this.decoded.set(row.record, items);
    return items;
  }

  private readRecord(record: number): Uint8Array | undefined {
    try {
      return this.disk?.readSync(record);
    } catch (error) {
      if (toAetherError(error).code !== "E_DATA_CORRUPT") this.abandonDisk(error);
      return undefined;
    }
  }
}

/** What whoever asks for changes from a revision on is told when they are not held. */
export function compacted(from: number, oldest: number, revision: number): AetherError {
  const message = `changes from revision ${from} on are not all held here: the oldest held is ${oldest}; list again`;
  return new AetherError("E_COMPACTED", message, { outcome: "none", details: { from, oldest, revision } });
}

/** What whoever needs a revision is told when this node did not get there in time. */
export function notThereYet(wanted: number, revision: number): AetherError {
  const message = `this node is at revision ${revision}, not yet at ${wanted}: ask another node`;
  return new AetherError("E_UNAVAILABLE", message, { outcome: "none", details: { revision, wanted } });
}
