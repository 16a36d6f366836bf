// Owns: the write-ahead journal of one voter: numbered records with chained checksums, one per group commit, each
// fsynced before anybody hears of it; reading the applied slots again; cutting off what is no longer needed. One flush
// is in flight at a time; the next takes everything queued meanwhile (the driver does that).
// Does not own: what the entries mean (recovery.ts), what may go (core/journal-index.ts), files (env/append-log.ts).
import { assert } from "../base/assert.ts";
import { AetherError } from "../base/errors.ts";
import type { AppendLog } from "../env/append-log.ts";
import { type DecidedEntry, JournalIndex, LOG_LIMITS, type LogLimits, type NewEntry } from "./core/journal-index.ts";
import { checksumOf, decodeRecord, encodeRecord, type JournalRecord, type StoredEntry } from "./core/journal-record.ts";
import { type BatchId, batchKeyOf, type BatchKey, type LogEntry, NULL_OUTCOME } from "./core/message.ts";
import type { PeerPromise } from "./core/peer-view.ts";

/** Decoded records kept for log requests: consecutive slots are in the same or neighbouring records. */
const CACHED_RECORDS_MAX = 16;
/** The base is a record before all others: it follows none. */
const NO_CHECKSUM = 0;

interface JournalWrite {
  readonly proposeBelow: number;
  readonly promises: readonly PeerPromise[];
  readonly entries: readonly StoredEntry[];
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
  private readonly cache = new Map<number, { readonly record: JournalRecord; readonly checksum: number }>();

  private constructor(log: AppendLog, limits: LogLimits) {
    this.log = log;
    this.index = new JournalIndex(limits, (slot, record) => this.readDecided(slot, record));
  }

  /**
   * Reads and checks the whole journal, oldest record first. Where it was cut, the first one has the facts that the
   * records before it had left, and the entry "cut".
   * @throws AetherError E_DATA_CORRUPT when a record is missing or damaged, E_VERSION for a newer format.
   */
  static async open(
    log: AppendLog,
    onRecord: (record: JournalRecord) => void,
    limits: LogLimits = LOG_LIMITS,
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
    const { bytes, checksum } = encodeRecord({ ...write, number }, this.checksum);
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
      for (const content of entry.contents) bytes += content?.byteLength ?? 0;
      bytes += 64;
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
    const record = this.read(number);
    const entry = record?.entries.find((candidate) => candidate.kind === "decided" && candidate.slot === slot);
    return entry?.kind === "decided" ? entry : undefined;
  }

  private readSlot(slot: number): LogEntry | undefined {
    const entry = this.readDecided(slot, this.index.recordOf(slot) ?? 0);
    if (entry === undefined) return undefined;
    const ids = entry.outcome === NULL_OUTCOME ? [] : entry.outcome.batches;
    const contents = ids.map((id, at) => this.readBatch(batchKeyOf(id), entry.locations[at] ?? 0));
    return { slot, outcome: entry.outcome, contents };
  }

  private readBatch(key: BatchKey, location: number): Uint8Array | undefined {
    if (location === 0) return undefined;
    for (const entry of this.read(location)?.entries ?? []) {
      if (entry.kind !== "ballot" && entry.kind !== "decided") continue;
      const batch = entry.batches.find((candidate) => batchKeyOf(candidate.id) === key);
      if (batch !== undefined) return batch.commands;
    }
    return undefined;
  }

  /** A durable record; undefined for one that is still being written. */
  private read(number: number): JournalRecord | undefined {
    const cached = this.cache.get(number);
    if (cached !== undefined) return cached.record;
    const stored = this.log.readSync(number);
    if (stored === undefined) return undefined;
    const { record, checksum } = decodeRecord(stored, this.checksumOf(number - 1));
    this.cache.set(number, { record, checksum });
    if (this.cache.size > CACHED_RECORDS_MAX) {
      const oldest = this.cache.keys().next().value;
      if (oldest !== undefined) this.cache.delete(oldest);
    }
    return record;
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

function misplaced(expected: number, found: number): AetherError {
  return new AetherError(
    "E_DATA_CORRUPT",
    `the journal has record ${found} in place of record ${expected}: this voter cannot know what it had promised. ` +
      "Keep the directory for analysis and restore the disk it was on",
  );
}
