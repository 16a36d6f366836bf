// Owns: the recent past of the store, revision by revision: the newest part in memory, the rest on disk.
// Does not own: the state, and who reads the past (watch-hub.ts, past-reads.ts).
//
// It is only for readers: whatever is wrong with its store, the past is shorter, never different. It always reaches up
// to the applied revision without a hole. It is on disk before the checkpoint of the same moment, so that a state that
// was loaded finds the past that led to it; what is on disk beyond that state is applied, and recorded, again.
import { AetherError, toAetherError } from "../base/errors.ts";
import { KiB, MiB } from "../base/units.ts";
import type { OrderedStore, StoreOp } from "../env/store.ts";
import type { Log } from "../env/telemetry.ts";
import {
  encodeHistoryRecord, HISTORY_BYTES_MAX, HISTORY_RECORD_ROW, HISTORY_REVISIONS_MAX, HistoryIndex, historyRowKey,
  parseHistoryRecord, type HistoryBounds, type HistoryRecord, type HistoryRow, type HistorySeal,
} from "./core/history-index.ts";
import { decodeHistoryRow, encodeHistoryRow, type RevisionChanges } from "./core/history-row.ts";
import type { StoredChange } from "./core/state-machine.ts";
import { bytesOfChanges, bytesOfEntriesBefore } from "./core/watch-match.ts";
import type { KvState } from "./kv-state.ts";

/** Changes that wait to be written together, when no checkpoint comes before. */
const WRITE_BYTES = 4 * MiB;
/** About this much in one row: what a reader of the past gets at once. */
const ROW_BYTES = 256 * KiB;
/** A last row below this is written again with what follows it, so that rare changes do not make many small rows. */
const ROW_BYTES_SMALL = 64 * KiB;
/** Rows that are forgotten together, about 16 MiB: until then the past is that much longer. */
const ROWS_FORGOTTEN = 64;
/** Changes kept in memory after they were written. */
const RECENT_BYTES = 4 * MiB;
/** Changes in memory when there is no disk. */
const MEMORY_BYTES_MAX = 16 * MiB;
/** Rows on the way to the disk: beyond, the next ones wait until these are there. */
const IN_FLIGHT_BYTES_MAX = 16 * MiB;
/** Changes that wait for the disk: when it cannot keep up, the past begins anew. */
const WAITING_BYTES_MAX = 64 * MiB;
/** What a reader gets at once from memory. */
const PIECE_REVISIONS_MAX = 512;
/** Decoded rows kept for readers that are at about the same place. */
const DECODED_ROWS_MAX = 8;

const SIZES: HistorySizes = {
  revisionsMax: HISTORY_REVISIONS_MAX,
  bytesMax: HISTORY_BYTES_MAX,
  writeBytes: WRITE_BYTES,
  rowBytes: ROW_BYTES,
  rowBytesSmall: ROW_BYTES_SMALL,
  rowsForgotten: ROWS_FORGOTTEN,
  recentBytes: RECENT_BYTES,
};
const NOTHING: readonly RevisionChanges[] = [];

type HistoryState = Pick<KvState, "revision" | "stateHash" | "onChanges" | "onReset" | "precedeCheckpoints">;

export interface KvHistoryOptions {
  readonly state: HistoryState;
  /** The open store "history" of this node. Its opener closes it, after the state. */
  readonly store: OrderedStore;
  readonly log: Log;
  readonly cluster: string;
  /** Smaller sizes, for tests. */
  readonly sizes?: HistorySizes;
}

export interface HistorySizes extends HistoryBounds {
  readonly writeBytes: number;
  readonly rowBytes: number;
  readonly rowBytesSmall: number;
  readonly recentBytes: number;
}

export interface HistoryListener {
  /** Inside the application of a command: there is a new revision. */
  onAppended(): void;
  /** The past up to this revision is gone, and the state is of this revision. */
  onReset(revision: number): void;
}

type EncodedRow = readonly [first: number, value: Uint8Array];

interface RecentItem extends RevisionChanges {
  readonly bytes: number;
}

export class KvHistory {
  private readonly state: HistoryState;
  private readonly log: Log | undefined;
  private readonly cluster: string;
  private readonly sizes: HistorySizes;
  /** Undefined when there is none, or none any more. */
  private store: OrderedStore | undefined;
  private index: HistoryIndex;
  private seals: HistorySeal[] = [];
  /** The newest revisions, consecutive; what is before `recentStart` is forgotten already. */
  private recent: RecentItem[] = [];
  private recentStart = 0;
  private recentBytes = 0;
  private waitingBytes = 0;
  private newest: number;
  /** Everything up to here is in rows: on the disk, or on the way there. */
  private handed: number;
  /** Rows on the way to the disk, by their first revision. */
  private readonly inFlight = new Map<number, Uint8Array>();
  private inFlightBytes = 0;
  /** Rows that the next write deletes. */
  private obsolete: HistoryRow[] = [];
  private readonly decoded = new Map<number, readonly RevisionChanges[]>();
  private readonly listeners = new Set<HistoryListener>();

  /** Begins at the state as it is: open it before anything is applied. Never fails for what is on the disk. */
  static async open(options: KvHistoryOptions): Promise<KvHistory> {
    const history = new KvHistory(options.state, options);
    await history.load(options.store);
    return history;
  }

  /** A history without a disk. */
  static inMemory(state: HistoryState): KvHistory {
    return new KvHistory(state);
  }

  private constructor(state: HistoryState, options?: KvHistoryOptions) {
    this.state = state;
    this.store = options?.store;
    this.log = options?.log;
    this.cluster = options?.cluster ?? "";
    this.sizes = options?.sizes ?? SIZES;
    this.index = new HistoryIndex([], this.sizes);
    this.newest = state.revision;
    this.handed = this.newest;
    state.onChanges((revision, changes) => this.append(revision, changes));
    state.onReset((revision) => this.reset(revision));
    state.precedeCheckpoints((ready) => this.seal(ready));
  }

  /** The oldest revision whose changes are held; above `revision` when none are. */
  get oldest(): number {
    return Math.min(this.index.all[0]?.first ?? this.recentOldest, this.recentOldest);
  }

  /** What the revisions weigh that are held: the newest in memory, most of them on disk too. */
  get weight(): { readonly memoryBytes: number; readonly diskBytes: number } {
    return { memoryBytes: this.recentBytes, diskBytes: this.index.bytes };
  }

  /** The applied revision. */
  get revision(): number {
    return this.newest;
  }

  /** Whether reading from there costs no visit to the disk. */
  isRecent(from: number): boolean {
    return from >= this.recentOldest;
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
    if (from >= this.recentOldest) {
      const at = this.recentStart + from - this.recentOldest;
      return this.recent.slice(at, at + PIECE_REVISIONS_MAX);
    }
    const row = this.index.find(from);
    const items = row === undefined ? undefined : this.readRow(row);
    if (row === undefined || items === undefined) throw compacted(from, this.oldest, this.newest);
    return items.slice(from - row.first);
  }

  private get recentOldest(): number {
    return this.newest - (this.recent.length - this.recentStart) + 1;
  }

  private async load(store: OrderedStore): Promise<void> {
    const record = this.readRecord(store);
    this.seals = [...(record?.seals ?? [])];
    this.index = new HistoryIndex(record?.rows ?? [], this.sizes);
    if (!this.isSealed(record) || !this.cutToState()) await this.forget(store, record);
    this.seals.push({ revision: this.newest, stateHash: this.state.stateHash });
  }

  private readRecord(store: OrderedStore): HistoryRecord | undefined {
    try {
      const row = store.getSync(HISTORY_RECORD_ROW);
      return row === undefined ? undefined : parseHistoryRecord(row);
    } catch (error) {
      this.abandonStore(error);
      return undefined;
    }
  }

  /** Whether it is the past of this very state, not of another one with the same revision. */
  private isSealed(record: HistoryRecord | undefined): boolean {
    const { revision, stateHash } = this.state;
    const matches = (seal: HistorySeal): boolean => seal.revision === revision && seal.stateHash === stateHash;
    return record?.cluster === this.cluster && record.seals.some(matches);
  }

  /** What is beyond the state is applied again. False when the past does not reach the state. */
  private cutToState(): boolean {
    this.obsolete.push(...this.index.dropAfter(this.newest));
    const { last } = this.index;
    if (last === undefined || last.last === this.newest) return true;
    if (last.last < this.newest) return false;
    const items = this.readRow(last)?.filter((item) => item.revision <= this.newest);
    if (items === undefined) return false;
    this.obsolete.push(...this.index.dropAfter(last.first - 1));
    this.handed = last.first - 1;
    for (const item of items) this.remember(item);
    return true;
  }

  /** Nothing of it can be used: the past begins anew. */
  private async forget(store: OrderedStore, record: HistoryRecord | undefined): Promise<void> {
    this.seals = [];
    this.obsolete = [...(record?.rows ?? [])];
    this.index = new HistoryIndex([], this.sizes);
    this.dropRecent();
    this.handed = this.newest;
    if (record !== undefined || this.store === undefined) return;
    try {
      // Without the record nobody knows which rows there are.
      for await (const [key] of store.entries({ from: historyRowKey(0) })) {
        this.obsolete.push({ first: firstOf(key), last: 0, bytes: 0 });
      }
    } catch (error) {
      this.abandonStore(error);
    }
  }

  private append(revision: number, changes: readonly StoredChange[]): void {
    if (revision <= this.newest) return;
    if (revision > this.newest + 1) this.restart(revision - 1);
    this.newest = revision;
    this.remember({ revision, changes: visible(changes) });
    this.writeIfDue();
    this.keepWithinMemory();
    for (const listener of this.listeners) listener.onAppended();
  }

  private remember({ revision, changes }: RevisionChanges): void {
    const bytes = ITEM_OVERHEAD_BYTES + bytesOfChanges(changes) + bytesOfEntriesBefore(changes);
    this.recent.push({ revision, changes, bytes });
    this.recentBytes += bytes;
    if (this.store !== undefined) this.waitingBytes += bytes;
  }

  private reset(revision: number): void {
    this.restart(revision);
    for (const listener of this.listeners) listener.onReset(revision);
  }

  private restart(revision: number): void {
    this.obsolete.push(...this.index.all);
    this.index = new HistoryIndex([], this.sizes);
    this.seals = [];
    this.dropRecent();
    this.newest = revision;
    this.handed = revision;
  }

  private dropRecent(): void {
    this.recent = [];
    this.recentStart = 0;
    this.recentBytes = 0;
    this.waitingBytes = 0;
    this.decoded.clear();
  }

  private keepWithinMemory(): void {
    const bytesMax = this.store === undefined ? MEMORY_BYTES_MAX : this.sizes.recentBytes;
    while (this.recentBytes > bytesMax && this.mayDropRecent()) this.dropOldestRecent();
    if (this.store === undefined || this.waitingBytes <= WAITING_BYTES_MAX) return;
    this.log?.warn({ event: "kv.history-too-slow", waitingBytes: this.waitingBytes });
    this.restart(this.newest);
  }

  private mayDropRecent(): boolean {
    return this.recent.length > this.recentStart && (this.store === undefined || this.recentOldest <= this.handed);
  }

  private dropOldestRecent(): void {
    this.recentBytes -= this.recent[this.recentStart]?.bytes ?? 0;
    this.recentStart += 1;
    if (this.recentStart < RECENT_SLACK || this.recentStart * 2 < this.recent.length) return;
    this.recent = this.recent.slice(this.recentStart);
    this.recentStart = 0;
  }

  /** Everything so far goes to the disk, together with the state that it leads to. */
  private seal(done: () => void): void {
    const { revision, stateHash } = this.state;
    const last = this.seals.at(-1);
    if (this.store === undefined || (last?.revision === revision && last.stateHash === stateHash)) {
      done();
      return;
    }
    this.seals.push({ revision, stateHash });
    this.write([done]);
  }

  private writeIfDue(): void {
    if (this.waitingBytes >= this.sizes.writeBytes && this.inFlightBytes < IN_FLIGHT_BYTES_MAX) this.write([]);
  }

  private write(waiting: readonly (() => void)[]): void {
    const { store } = this;
    if (store === undefined) return;
    const rows = this.rowsToWrite();
    const ops: StoreOp[] = rows.map(([first, value]) => ({ kind: "put", key: historyRowKey(first), value }));
    const { cluster } = this;
    this.obsolete.push(...this.index.trim(this.newest));
    for (const { first } of this.obsolete) {
      if (this.index.find(first)?.first !== first) ops.push({ kind: "delete", key: historyRowKey(first) });
    }
    this.obsolete = [];
    const record = encodeHistoryRecord({ cluster, seals: this.seals, rows: this.index.all });
    ops.push({ kind: "put", key: HISTORY_RECORD_ROW, value: record });
    store.write(ops, (failure) => {
      this.landed(rows);
      if (failure === undefined) this.writeIfDue();
      else this.abandonStore(failure);
      for (const done of waiting) done();
    });
  }

  /** What was not handed over before, cut into rows. */
  private rowsToWrite(): EncodedRow[] {
    const rows: EncodedRow[] = [];
    const { last } = this.index;
    const isContinued = last !== undefined && last.bytes < this.sizes.rowBytesSmall && last.first >= this.recentOldest;
    let first = isContinued ? last.first : this.handed + 1;
    while (first <= this.newest) {
      const items = this.rowFrom(first);
      const value = encodeHistoryRow(items);
      const row = { first, last: first + items.length - 1, bytes: value.length };
      rows.push([first, value]);
      this.inFlight.set(first, value);
      this.inFlightBytes += value.length;
      this.decoded.delete(first);
      this.index.add(row);
      first = row.last + 1;
    }
    this.handed = this.newest;
    this.waitingBytes = 0;
    return rows;
  }

  private rowFrom(first: number): readonly RecentItem[] {
    const start = this.recentStart + first - this.recentOldest;
    let bytes = 0;
    let end = start;
    while (end < this.recent.length && bytes < this.sizes.rowBytes) bytes += this.recent[end++]?.bytes ?? 0;
    return this.recent.slice(start, end);
  }

  private landed(rows: readonly EncodedRow[]): void {
    for (const [first, value] of rows) {
      this.inFlightBytes -= value.length;
      // A later write may carry the same row, grown.
      if (this.inFlight.get(first) === value) this.inFlight.delete(first);
    }
  }

  /** From here on the past is what memory holds. */
  private abandonStore(reason: unknown): void {
    if (this.store === undefined) return;
    this.store = undefined;
    this.index = new HistoryIndex([], this.sizes);
    const { code, message } = toAetherError(reason);
    this.log?.error({ event: "kv.history-abandoned", code, reason: message });
  }

  private readRow(row: HistoryRow): readonly RevisionChanges[] | undefined {
    const known = this.decoded.get(row.first);
    if (known !== undefined) return known;
    const items = this.readFromDisk(row);
    if (items === undefined) {
      this.log?.error({ event: "kv.history-damaged", first: row.first, last: row.last });
      this.obsolete.push(...this.index.dropBefore(row.last + 1));
      return undefined;
    }
    for (const oldest of this.decoded.keys()) {
      if (this.decoded.size < DECODED_ROWS_MAX) break;
      this.decoded.delete(oldest);
    }
    this.decoded.set(row.first, items);
    return items;
  }

  private readFromDisk(row: HistoryRow): readonly RevisionChanges[] | undefined {
    try {
      const bytes = this.inFlight.get(row.first) ?? this.store?.getSync(historyRowKey(row.first));
      const items = bytes === undefined ? undefined : decodeHistoryRow(bytes);
      return items?.[0]?.revision === row.first && items.at(-1)?.revision === row.last ? items : undefined;
    } catch (error) {
      this.abandonStore(error);
      return undefined;
    }
  }
}

/** Weight of a revision beside its changes. */
const ITEM_OVERHEAD_BYTES = 100;
/** Forgotten places at the front of the newest revisions before they are moved together. */
const RECENT_SLACK = 1_024;

/** Nobody sees rows of the store's own, whose keys begin with a control character. */
function visible(changes: readonly StoredChange[]): readonly StoredChange[] {
  for (const { key } of changes) {
    if (key < " ") return changes.filter((change) => change.key >= " ");
  }
  return changes;
}

function firstOf(key: Uint8Array): number {
  const bytes = Buffer.from(key);
  return bytes.length === 9 ? bytes.readUInt32BE(1) * 2 ** 32 + bytes.readUInt32BE(5) : 0;
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
