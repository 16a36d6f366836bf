// Owns: where in the journal things are, and what of it is still needed: the standing facts, the applied slots it can
// serve, the batches that have not run and this voter's own ballots of undecided slots. Does not own: bytes.
import { assert, unreachable } from "../../base/assert.ts";
import { GiB, MiB } from "../../base/units.ts";
import type { JournalEntry } from "./effects.ts";
import type { JournalRecord, StoredBatch, StoredEntry } from "./journal-record.ts";
import { type BatchId, batchKeyOf, type BatchKey, NULL_OUTCOME, type Outcome } from "./message.ts";

/** Applied slots kept for voters that come back: an hour and more of a busy cluster. */
const LOG_SLOTS_KEPT = 50_000;
/** The same as bytes of the journal; what is reached first counts. */
const LOG_BYTES_KEPT = 256 * MiB;
/** How long the log may get for nodes that catch up; one that is still further behind begins with the state again. */
const LOG_SLOTS_PINNED_MAX = 500_000;
/** The same as bytes of the journal; what is reached first counts. A start reads all of them. */
const LOG_BYTES_PINNED_MAX = 2 * GiB;
/** A cut is worth its writes when it frees this part of what is kept. */
const WORTHWHILE_PART = 8;

export interface LogLimits {
  readonly slotsKept: number;
  readonly bytesKept: number;
  /** While somebody needs them; the built-in bounds when absent. */
  readonly slotsPinned?: number;
  readonly bytesPinned?: number;
}

export const LOG_LIMITS: LogLimits = { slotsKept: LOG_SLOTS_KEPT, bytesKept: LOG_BYTES_KEPT };

/** What a cut leaves: records from `firstKept` on, slots from `logStart` on. */
export interface CutPlan {
  readonly firstKept: number;
  readonly logStart: number;
}

/** What may enter the journal: what the replica persists, and what a start writes before there is a replica. */
export type NewEntry = JournalEntry | Fact;

type Fact = Exclude<StoredEntry, { readonly kind: "ballot" | "decided" | "cut" }>;

/** Parallel to the slots from `start` on. */
interface SlotRows {
  /** The record with the decided entry. */
  readonly record: number[];
  /** The oldest record that the slot needs: its own, one that holds a batch of it, or one with an own ballot. */
  readonly oldest: number[];
  /** Bytes of the journal before `record`. */
  readonly bytesBefore: number[];
}

export type DecidedEntry = Extract<StoredEntry, { readonly kind: "decided" }>;

export class JournalIndex {
  private readonly limits: Required<LogLimits>;
  /** Reads the decided entry of a slot again. */
  private readonly recall: (slot: number, record: number) => DecidedEntry | undefined;
  /** The last of each kind rules. */
  private readonly factsByKind = new Map<Fact["kind"], Fact>();
  /** Where the batches are that no decided entry has named yet. */
  private readonly batches = new Map<BatchKey, { readonly id: BatchId; readonly record: number }>();
  /** The oldest record with an own ballot, by undecided slot. */
  private readonly ballots = new Map<number, number>();
  private start = 0;
  private rows: SlotRows = { record: [], oldest: [], bytesBefore: [] };
  private bytes = 0;

  constructor(limits: LogLimits, recall: JournalIndex["recall"]) {
    this.limits = { slotsPinned: LOG_SLOTS_PINNED_MAX, bytesPinned: LOG_BYTES_PINNED_MAX, ...limits };
    this.recall = recall;
  }

  /** The oldest slot that can be read. */
  get logStart(): number {
    return this.start;
  }

  /** One above the newest slot recorded as applied. */
  get decidedSlots(): number {
    return this.start + this.rows.record.length;
  }

  /** The record with the decided entry of `slot`. */
  recordOf(slot: number): number | undefined {
    return this.rows.record[slot - this.start];
  }

  /** What stands whatever is cut. */
  get facts(): readonly StoredEntry[] {
    return [...this.factsByKind.values()];
  }

  /** Everything of `record`, in its order. Its size comes with `grow`. */
  take(record: JournalRecord): void {
    for (const entry of record.entries) this.takeEntry(entry, record.number);
  }

  /** The record that was taken last has this size. */
  grow(bytes: number): void {
    this.bytes += bytes;
  }

  /** The form in which an entry is stored in `record`: decided slots say where their batches are. */
  store(entry: NewEntry, record: number): StoredEntry {
    if (entry.kind !== "decided") {
      this.takeEntry(entry, record);
      return entry;
    }
    this.locate(entry.batches, record);
    const locations = this.takeLocations(entry.outcome);
    this.markDecided(entry.slot, record, locations);
    return { locations, ...entry };
  }

  /**
   * What may go now that the state through slots [0, applied) is on disk. From `pinned` on, slots stay beyond the
   * limits of what is kept, but not beyond those of what is pinned. `hasRun` tells of batches as of `decidedSlots`: one
   * that ran and that no slot named will not be named by a slot that needs it.
   * Undefined when too little would be gained.
   */
  planCut(state: {
    readonly applied: number;
    readonly pinned: number;
    readonly durableRecord: number;
    readonly hasRun: (id: BatchId) => boolean;
  }): CutPlan | undefined {
    const { slotsKept, bytesKept, slotsPinned, bytesPinned } = this.limits;
    const pinned = Math.max(state.pinned, this.oldestWithin(slotsPinned, bytesPinned));
    const logStart = Math.min(state.applied, pinned, this.oldestWithin(slotsKept, bytesKept));
    if (!this.isWorthwhile(logStart)) return undefined;
    for (const [key, batch] of this.batches) if (state.hasRun(batch.id)) this.batches.delete(key);
    let firstKept = state.durableRecord;
    for (const record of this.ballots.values()) firstKept = Math.min(firstKept, record);
    for (const { record } of this.batches.values()) firstKept = Math.min(firstKept, record);
    for (let at = logStart - this.start; at < this.rows.oldest.length; at++) {
      firstKept = Math.min(firstKept, this.rows.oldest[at] ?? 0);
    }
    return { firstKept, logStart };
  }

  /** Slots below `logStart` are no longer served. */
  cut(logStart: number): void {
    const { record, oldest, bytesBefore } = this.rows;
    const gone = logStart - this.start;
    this.rows = { record: record.slice(gone), oldest: oldest.slice(gone), bytesBefore: bytesBefore.slice(gone) };
    this.start = logStart;
  }

  /** The oldest slot within both limits. */
  private oldestWithin(slotsMax: number, bytesMax: number): number {
    const { bytesBefore } = this.rows;
    let at = Math.max(0, bytesBefore.length - slotsMax);
    while (at < bytesBefore.length && this.bytes - (bytesBefore[at] ?? 0) > bytesMax) at += 1;
    return this.start + at;
  }

  private isWorthwhile(logStart: number): boolean {
    const slots = logStart - this.start;
    if (slots <= 0) return false;
    const { bytesBefore } = this.rows;
    const bytes = (bytesBefore[slots] ?? this.bytes) - (bytesBefore[0] ?? this.bytes);
    const { slotsKept, bytesKept } = this.limits;
    return slots * WORTHWHILE_PART >= slotsKept || bytes * WORTHWHILE_PART >= bytesKept;
  }

  private takeEntry(entry: StoredEntry, record: number): void {
    switch (entry.kind) {
      case "ballot":
        this.locate(entry.batches, record);
        if (entry.ballot.slot < this.decidedSlots || this.ballots.has(entry.ballot.slot)) return;
        this.ballots.set(entry.ballot.slot, record);
        return;
      case "decided":
        this.locate(entry.batches, record);
        this.forgetLocations(entry.outcome);
        // The oldest records kept may still hold slots that a cut gave up.
        if (entry.slot >= this.start) this.markDecided(entry.slot, record, entry.locations);
        return;
      case "cut":
        this.begin(entry.slot);
        return;
      case "generation":
        this.factsByKind.delete("diverged");
        this.factsByKind.set(entry.kind, entry);
        if (entry.slot > this.decidedSlots) this.begin(entry.slot);
        else this.goBack(Math.max(entry.slot, this.start));
        return;
      case "identity":
      case "start":
      case "voter-list":
      case "formed":
      case "diverged":
      case "removed":
        this.factsByKind.set(entry.kind, entry);
        return;
      default:
        unreachable(entry);
    }
  }

  /** The slots below are known by the state alone. */
  private begin(slot: number): void {
    this.start = slot;
    this.rows = { record: [], oldest: [], bytesBefore: [] };
    for (const at of this.ballots.keys()) if (at < slot) this.ballots.delete(at);
  }

  /**
   * The slots from this one on will be decided again, for a state that ends before them: until then what they needed is
   * as that of slots that were never decided.
   */
  private goBack(slot: number): void {
    const { record, oldest, bytesBefore } = this.rows;
    const kept = slot - this.start;
    for (const [at, needed] of oldest.slice(kept).entries()) {
      const entry = this.recall(slot + at, record[kept + at] ?? 0);
      this.ballots.set(slot + at, needed);
      for (const [index, id] of batchesOf(entry).entries()) {
        const location = entry?.locations[index] ?? 0;
        if (location !== 0) this.batches.set(batchKeyOf(id), { id, record: location });
      }
    }
    for (const list of [record, oldest, bytesBefore]) list.length = kept;
  }

  private locate(batches: readonly StoredBatch[], record: number): void {
    for (const { id } of batches) this.batches.set(batchKeyOf(id), { id, record });
  }

  private takeLocations(outcome: Outcome): readonly number[] {
    if (outcome === NULL_OUTCOME) return [];
    const locations = outcome.batches.map((id) => this.batches.get(batchKeyOf(id))?.record ?? 0);
    this.forgetLocations(outcome);
    return locations;
  }

  private forgetLocations(outcome: Outcome): void {
    if (outcome === NULL_OUTCOME) return;
    for (const id of outcome.batches) this.batches.delete(batchKeyOf(id));
  }

  private markDecided(slot: number, record: number, locations: readonly number[]): void {
    assert(slot === this.decidedSlots, "C7: decided slots enter the journal in order, each once");
    let oldest = record;
    for (const location of locations) if (location !== 0) oldest = Math.min(oldest, location);
    // A state that is installed may end before this slot: then the own ballots in it count again.
    oldest = Math.min(oldest, this.ballots.get(slot) ?? record);
    this.rows.record.push(record);
    this.rows.oldest.push(oldest);
    this.rows.bytesBefore.push(this.bytes);
    this.ballots.delete(slot);
  }
}

function batchesOf(entry: DecidedEntry | undefined): readonly BatchId[] {
  return entry === undefined || entry.outcome === NULL_OUTCOME ? [] : entry.outcome.batches;
}
