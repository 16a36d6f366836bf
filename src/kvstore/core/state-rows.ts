// Owns: every change of the state, so that the rolling hash and the weight of the store follow each one.
// Does not own: where entries are kept (kv-state.ts), and what is written (state-machine.ts).
import { encode } from "../../base/codec.ts";
import type { KeyText } from "./key.ts";
import type { StateEntries } from "./state-machine.ts";
import { checksumOfDeletion, encodeEntry, type StoredEntry } from "./stored-entry.ts";

/** What an entry weighs beside its bytes, about: the disk's index and the blocks around it. */
export const ENTRY_OVERHEAD_BYTES = 64;

export class StateRows {
  private readonly entries: StateEntries;
  private hash: number;
  private weight: number;

  constructor(entries: StateEntries, start: { readonly stateHash: number; readonly liveBytes: number }) {
    this.entries = entries;
    this.hash = start.stateHash;
    this.weight = start.liveBytes;
  }

  /** A chain over every change so far: equal on all replicas with the same history. */
  get stateHash(): number {
    return this.hash;
  }

  /** What all entries weigh, those of the store itself as well. */
  get liveBytes(): number {
    return this.weight;
  }

  read(key: KeyText): StoredEntry | undefined {
    return this.entries.read(key);
  }

  /** `before` is what `read` gives for the key now. */
  put(key: KeyText, entry: StoredEntry, before: StoredEntry | undefined): void {
    this.entries.put(key, entry);
    this.weight += weightOf(entry) - weightOf(before);
    this.hash = chain(this.hash, entry.checksum);
  }

  remove(key: KeyText, before: StoredEntry, revision: number): void {
    this.entries.remove(key);
    this.weight -= weightOf(before);
    this.hash = chain(this.hash, checksumOfDeletion(key, revision));
  }

  /** The value of one of the store's own rows, which have no revisions. */
  readOwn(key: KeyText): Uint8Array | undefined {
    return this.entries.read(key)?.value;
  }

  /** `before`, what `read` gives for the key now, is read when it is not given. */
  writeOwn(key: KeyText, value: unknown, before: StoredEntry | undefined = this.entries.read(key)): void {
    const fields = { value: encode(value), modRevision: 0, createRevision: 0, version: 0 };
    this.put(key, encodeEntry(key, fields), before);
  }

  removeOwn(key: KeyText): void {
    const before = this.entries.read(key);
    if (before !== undefined) this.remove(key, before, 0);
  }

  /** A change that has no row of its own: what it is for the hash, and what it adds to the weight. */
  note(checksum: number, bytes: number): void {
    this.hash = chain(this.hash, checksum);
    this.weight += bytes;
  }

  /** A row whose content was noted change by change: replicas may write it at different times. */
  writeUncounted(key: KeyText, value: Uint8Array): void {
    this.entries.put(key, encodeEntry(key, { value, modRevision: 0, createRevision: 0, version: 0 }));
  }

  removeUncounted(key: KeyText): void {
    this.entries.remove(key);
  }
}

/** What an entry counts in the weight of the store. */
export function weightOf(entry: StoredEntry | undefined): number {
  return entry === undefined ? 0 : entry.block.length + ENTRY_OVERHEAD_BYTES;
}

// Depends on the order of changes; the bytes themselves are covered by each change's CRC-32.
function chain(hash: number, checksum: number): number {
  const turned = (hash << 5) | (hash >>> 27);
  return Math.imul(turned ^ checksum, 0x9e3779b1) >>> 0;
}
