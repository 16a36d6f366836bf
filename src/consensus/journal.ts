// Owns: the write-ahead journal of one voter: numbered records with chained checksums, one per group commit, each
// fsynced before anybody hears of it; reading the applied slots again; cutting off what is no longer needed. One flush
// is in flight at a time; the next takes everything queued meanwhile (the driver does that).
// Does not own: what the entries mean (recovery.ts), what may go (core/journal-index.ts), files (env/append-log.ts).
import { assert } from "../base/assert.ts";
import { AetherError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import type { AppendLog } from "../env/append-log.ts";
import { type DecidedEntry, JournalIndex, LOG_LIMITS, type LogLimits, type NewEntry } from "./core/journal-index.ts";
import { checksumOf, decodeRecord, encodeRecord, type JournalRecord, type StoredEntry } from "./core/journal-record.ts";
import { type BatchId, batchKeyOf, type BatchKey, type LogEntry, NULL_OUTCOME } from "./core/message.ts";
import type { PeerPromise } from "./core/peer-view.ts";
import { logBytesOf } from "./core/recent-log.ts";

/** Decoded records kept for log requests: consecutive slots are in the same or neighbouring records. */
const CACHED_RECORDS_MAX = 16;
/** The same as bytes of the journal; the record that is being read is kept whatever its size. */
const CACHED_BYTES_MAX = 8 * MiB;
/** The base is a record before all others: it follows none. */
const NO_CHECKSUM = 0;

interface JournalWrite {
  readonly proposeBelow: number;
  readonly promises: readonly PeerPromise[];
  readonly entries: readonly StoredEntry[];
}

/** A record with what is looked up in it, slot after slot and batch after batch. */
interface OpenRecord {
  readonly checksum: number;
  readonly bytes: number;
  readonly decided: ReadonlyMap<number, DecidedEntry>;
  readonly batches: ReadonlyMap<BatchKey, Uint8Array>;
}

export class Journal {
  private readonly log: AppendLog;
  private readonly index: JournalIndex;
  /** Of the record handed over last. */
  private checksum = NO_CHECKSUM;
  /** Of the record before the oldest kept. */
  private baseChecksum = NO_CHECKSUM;
  /** What every record repeats, as of the last one. */
  private head: Pick<JournalWrite, "proposeBelow" | "promises"> = { proposeBelow: 0, promises: [] };
  /** Records up to here are durable. */
  private durable = 0;
  private isCutting = false;
  /** What was used last is at the end. */
  private readonly cache = new Map<number, OpenRecord>();
  private cachedBytes = 0;

  private constructor(log: AppendLog, limits: LogLimits) {
    this.log = log;
    this.index = new JournalIndex(limits, (slot, record) => this.readDecided(slot, record));
  }

  /**
   * Reads and checks the whole journal, oldest record first. Where it was cut, the first one has the facts that the
   * records before it had left, and the entry "cut". `pause` is asked after each record: the next one waits for it.
   * @throws AetherError E_DATA_CORRUPT when a record is missing or damaged, E_VERSION for a newer format.
   */
  static async open(
    log: AppendLog,
    onRecord: (record: JournalRecord) => void,
    limits: LogLimits = LOG_LIMITS,
    pause: () => Promise<void> | undefined = () => undefined,
  ): Promise<Journal> {
    const journal = new Journal(log, limits);
    journal.openBase(onRecord);
    for await (const { number, bytes } of log.records()) {
      const { record, checksum } = decodeRecord(bytes, journal.checksum);
      if (record.number !== number) throw misplaced(number, record.number);
      journal.checksum = checksum;
      journal.take(record);
      journal.index.grow(bytes.byteLength);
      onRecord(record);
      const pausing = pause();
      if (pausing !== undefined) await pausing;
    }
    journal.durable = log.last;
    return journal;
  }

  /** Slots [0, decidedSlots) are recorded as applied. */
  get decidedSlots(): number {
    return this.index.decidedSlots;
  }

  /** The oldest slot that `readLog` serves; those before it are in the state alone. */
  get logStart(): number {
    return this.index.logStart;
  }

  /** Queues one record of entries from `toStored`. `done` comes once it is fsynced, with its number. */
  append(write: JournalWrite, done: (number: number, failure?: Error) => void): void {
    const number = this.log.last + 1;
    const { bytes, checksum } = encodeRecord({ number, ...write }, this.checksum);
    this.checksum = checksum;
    this.head = { proposeBelow: write.proposeBelow, promises: write.promises };
    this.index.grow(bytes.byteLength);
    this.log.append(bytes, (failure) => {
      if (failure === undefined) this.durable = number;
      done(number, failure);
    });
  }

  /** The form in which entries of the next record are stored: decided slots say where their batches are. */
  toStored(entries: readonly NewEntry[]): readonly StoredEntry[] {
    const number = this.log.last + 1;
    return entries.map((entry) => this.index.store(entry, number));
  }

  /** Applied slots [from, below), until `bytesMax` is passed; at least one when there is one. */
  readLog(from: number, bytesMax: number, below = Number.POSITIVE_INFINITY): readonly LogEntry[] {
    const entries: LogEntry[] = [];
    let bytes = 0;
    for (let slot = from; slot < Math.min(below, this.decidedSlots) && bytes < bytesMax; slot++) {
      const entry = this.readSlot(slot);
      if (entry === undefined) break;
      entries.push(entry);
      bytes += logBytesOf(entry);
    }
    return entries;
  }

  /**
   * Gives up records that nobody needs any more, now that the state through slots [0, applied) is durable; often there
   * is nothing worth it. Somebody will ask for the slots from `pinned` on: they are kept for longer, within a bound.
   * Everything applied must have been given to `toStored`: `hasRun` tells whether a batch ran, or never may, by then.
   * `done` comes once the cut is durable, or with the reason why the process must stop.
   */
  cut(
    state: { readonly applied: number; readonly pinned: number; readonly hasRun: (id: BatchId) => boolean },
    done: (failure?: Error) => void,
  ): void {
    if (this.isCutting) return;
    const plan = this.index.planCut({ ...state, durableRecord: this.durable });
    if (plan === undefined) return;
    const { firstKept, logStart } = plan;
    const checksum = this.checksumOf(firstKept - 1);
    const entries: readonly StoredEntry[] = [...this.index.facts, { kind: "cut", slot: logStart, checksum }];
    const base = encodeRecord({ ...this.head, number: firstKept - 1, entries }, NO_CHECKSUM);
    this.index.cut(logStart);
    this.baseChecksum = checksum;
    this.isCutting = true;
    this.log.cut(firstKept, base.bytes, (failure) => {
      this.isCutting = false;
      done(failure);
    });
  }

  private openBase(onRecord: (record: JournalRecord) => void): void {
    if (this.log.base === undefined) return;
    const { record } = decodeRecord(this.log.base, NO_CHECKSUM);
    if (record.number !== this.log.first - 1) throw misplaced(this.log.first - 1, record.number);
    const cut = record.entries.find((entry) => entry.kind === "cut");
    assert(cut?.kind === "cut", "a base says where the journal was cut");
    this.baseChecksum = cut.checksum;
    this.checksum = cut.checksum;
    this.take(record);
    onRecord(record);
  }

  private take(record: JournalRecord): void {
    this.head = { proposeBelow: record.proposeBelow, promises: record.promises };
    this.index.take(record);
  }

  private readDecided(slot: number, number: number): DecidedEntry | undefined {
    return this.read(number)?.decided.get(slot);
  }

  private readSlot(slot: number): LogEntry | undefined {
    const entry = this.readDecided(slot, this.index.recordOf(slot) ?? 0);
    if (entry === undefined) return undefined;
    const ids = entry.outcome === NULL_OUTCOME ? [] : entry.outcome.batches;
    const contents = ids.map((id, at) => this.readBatch(batchKeyOf(id), entry.locations[at] ?? 0));
    return { slot, outcome: entry.outcome, contents };
  }

  private readBatch(key: BatchKey, location: number): Uint8Array | undefined {
    return location === 0 ? undefined : this.read(location)?.batches.get(key);
  }

  /** A durable record; undefined for one that is still being written. */
  private read(number: number): OpenRecord | undefined {
    const cached = this.cache.get(number);
    if (cached !== undefined) {
      this.cache.delete(number);
      this.cache.set(number, cached);
      return cached;
    }
    const stored = this.log.readSync(number);
    if (stored === undefined) return undefined;
    const { record, checksum } = decodeRecord(stored, this.checksumOf(number - 1));
    const open = openRecord(record, { checksum, bytes: stored.byteLength });
    this.cache.set(number, open);
    this.cachedBytes += open.bytes;
    this.trimCache();
    return open;
  }

  private trimCache(): void {
    for (const [number, { bytes }] of this.cache) {
      const isFull = this.cache.size > CACHED_RECORDS_MAX || this.cachedBytes > CACHED_BYTES_MAX;
      if (!isFull || this.cache.size === 1) return;
      this.cache.delete(number);
      this.cachedBytes -= bytes;
    }
  }

  /** The checksum that a record's successor continues. */
  private checksumOf(number: number): number {
    if (number < this.log.first) return this.baseChecksum;
    // Whoever reads one after the other has just read it.
    const cached = this.cache.get(number);
    if (cached !== undefined) return cached.checksum;
    const stored = this.log.readSync(number);
    assert(stored !== undefined, "the predecessor of a durable record is durable");
    return checksumOf(stored);
  }
}

function openRecord({ entries }: JournalRecord, stored: Pick<OpenRecord, "checksum" | "bytes">): OpenRecord {
  const decided = new Map<number, DecidedEntry>();
  const batches = new Map<BatchKey, Uint8Array>();
  for (const entry of entries) {
    if (entry.kind === "decided") decided.set(entry.slot, entry);
    if (entry.kind !== "decided" && entry.kind !== "ballot") continue;
    for (const { id, commands } of entry.batches) batches.set(batchKeyOf(id), commands);
  }
  return { ...stored, decided, batches };
}

function misplaced(expected: number, found: number): AetherError {
  return new AetherError(
    "E_DATA_CORRUPT",
    `the journal has record ${found} in place of record ${expected}: this voter cannot know what it had promised. ` +
      "Keep the directory for analysis and restore the disk it was on",
  );
}
