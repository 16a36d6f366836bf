// Owns: the write-ahead journal of one voter: numbered records, one per group commit, in an OrderedStore that fsyncs
// each
// write. One flush is in flight at a time; the next takes everything queued meanwhile (the driver does that).
// Kept behind this narrow class so that another medium (a preallocated file) can replace it by measurement.
// Does not own: what the entries mean. This version never cuts the journal.
import { AetherError } from "../base/errors.ts";
import { assert } from "../base/assert.ts";
import type { OrderedStore } from "../env/store.ts";
import type { JournalEntry } from "./core/effects.ts";
import {
  checksumOf,
  decodeRecord,
  encodeRecord,
  type JournalRecord,
  type StoredBatch,
  type StoredEntry,
} from "./core/journal-record.ts";
import { batchKeyOf, type BatchKey, type LogEntry, NULL_OUTCOME, type Outcome } from "./core/message.ts";
import type { PeerPromise } from "./core/peer-view.ts";

/** Decoded records kept for log requests: consecutive slots are in the same or neighbouring records. */
const CACHED_RECORDS_MAX = 16;

export class Journal {
  private readonly store: OrderedStore;
  private last = 0;
  private checksum = 0;
  /** Where the batches are that no decided entry has named yet. */
  private readonly locations = new Map<BatchKey, number>();
  /** The record whose decided entry is of slot i. Slots are decided here in order, from 0. */
  private readonly decidedAt: number[] = [];
  private readonly cache = new Map<number, JournalRecord>();

  private constructor(store: OrderedStore) {
    this.store = store;
  }

  /**
   * Reads and checks the whole journal, oldest record first.
   * @throws AetherError E_DATA_CORRUPT when a record is missing or damaged, E_VERSION for a newer format.
   */
  static async open(store: OrderedStore, onRecord: (record: JournalRecord) => void): Promise<Journal> {
    const journal = new Journal(store);
    for await (const [key, stored] of store.entries({})) {
      const number = numberOf(key);
      if (number !== journal.last + 1) throw missing(journal.last + 1, number);
      const { record, checksum } = decodeRecord(stored, journal.checksum);
      if (record.number !== number) throw missing(number, record.number);
      journal.checksum = checksum;
      journal.last = number;
      journal.index(record);
      onRecord(record);
    }
    return journal;
  }

  /** Slots [0, decidedSlots) are recorded as applied. */
  get decidedSlots(): number {
    return this.decidedAt.length;
  }

  /** Queues one record. `done` comes once it is fsynced, with its number. */
  append(
    write: {
      readonly proposeBelow: number;
      readonly promises: readonly PeerPromise[];
      readonly entries: readonly StoredEntry[];
    },
    done: (number: number, failure?: Error) => void,
  ): void {
    const record: JournalRecord = { ...write, number: this.last + 1 };
    const { bytes, checksum } = encodeRecord(record, this.checksum);
    this.last = record.number;
    this.checksum = checksum;
    this.store.write([{ kind: "put", key: keyOf(record.number), value: bytes }], (failure) =>
      done(record.number, failure),
    );
  }

  /** The form in which entries of the next record are stored: decided slots say where their batches are. */
  toStored(entries: readonly JournalEntry[]): readonly StoredEntry[] {
    const number = this.last + 1;
    return entries.map((entry): StoredEntry => {
      if (entry.kind === "ballot" || entry.kind === "decided") this.locate(entry.batches, number);
      if (entry.kind !== "decided") return entry;
      this.markDecided(entry.slot, number);
      return { ...entry, locations: this.takeLocations(entry.outcome) };
    });
  }

  /** Applied slots from `from` on, until `bytesMax` is passed; at least one when there is one. */
  readLog(from: number, bytesMax: number): readonly LogEntry[] {
    const entries: LogEntry[] = [];
    let bytes = 0;
    for (let slot = from; slot < this.decidedAt.length && bytes < bytesMax; slot++) {
      const entry = this.readSlot(slot);
      if (entry === undefined) break;
      entries.push(entry);
      for (const content of entry.contents) bytes += content?.byteLength ?? 0;
      bytes += 64;
    }
    return entries;
  }

  private readSlot(slot: number): LogEntry | undefined {
    const record = this.read(this.decidedAt[slot] ?? 0);
    const entry = record?.entries.find((candidate) => candidate.kind === "decided" && candidate.slot === slot);
    if (entry?.kind !== "decided") return undefined;
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
    if (cached !== undefined) return cached;
    const stored = number === 0 ? undefined : this.store.getSync(keyOf(number));
    if (stored === undefined) return undefined;
    const { record } = decodeRecord(stored, this.checksumOf(number - 1));
    this.cache.set(number, record);
    if (this.cache.size > CACHED_RECORDS_MAX) {
      const oldest = this.cache.keys().next().value;
      if (oldest !== undefined) this.cache.delete(oldest);
    }
    return record;
  }

  /** The checksum that a record's successor continues. */
  private checksumOf(number: number): number {
    const stored = number === 0 ? undefined : this.store.getSync(keyOf(number));
    return stored === undefined ? 0 : checksumOf(stored);
  }

  private index(record: JournalRecord): void {
    for (const entry of record.entries) {
      if (entry.kind !== "ballot" && entry.kind !== "decided") continue;
      this.locate(entry.batches, record.number);
      if (entry.kind !== "decided") continue;
      this.markDecided(entry.slot, record.number);
      this.takeLocations(entry.outcome);
    }
  }

  private locate(batches: readonly StoredBatch[], number: number): void {
    for (const batch of batches) this.locations.set(batchKeyOf(batch.id), number);
  }

  private takeLocations(outcome: Outcome): readonly number[] {
    if (outcome === NULL_OUTCOME) return [];
    return outcome.batches.map((id) => {
      const key = batchKeyOf(id);
      const location = this.locations.get(key) ?? 0;
      this.locations.delete(key);
      return location;
    });
  }

  private markDecided(slot: number, number: number): void {
    assert(slot === this.decidedAt.length, "C7: decided slots enter the journal in order, each once");
    this.decidedAt.push(number);
  }
}

function keyOf(number: number): Uint8Array {
  const key = Buffer.allocUnsafe(8);
  key.writeBigUInt64BE(BigInt(number));
  return key;
}

function numberOf(key: Uint8Array): number {
  return Number(Buffer.from(key.buffer, key.byteOffset, key.byteLength).readBigUInt64BE());
}

function missing(expected: number, found: number): AetherError {
  return new AetherError(
    "E_DATA_CORRUPT",
    `the journal misses record ${expected} (found ${found}): this voter cannot know what it had promised. Keep the ` +
      "directory for analysis and restore the disk it was on",
  );
}
