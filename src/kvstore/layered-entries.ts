// Owns: where an entry is found: changes not yet on disk (active, then frozen while a checkpoint is written), then a
// bounded cache, then the disk. Does not own: when a checkpoint is due.
import { assert } from "../base/assert.ts";
import { MiB } from "../base/units.ts";
import type { OrderedStore } from "../env/store.ts";
import { compareKeyText, type KeyText } from "./core/key.ts";
import type { StateEntries } from "./core/state-machine.ts";
import { decodeRow, type StoredEntry } from "./core/stored-entry.ts";

/** What a layer knows of a key: its entry, or that it has none. */
export type Layered = StoredEntry | "absent";

/** A layer with what it weighs. */
interface Layer {
  readonly rows: Map<KeyText, Layered>;
  bytes: number;
}

// Two generations of at most this size: what was not used during a whole generation is forgotten.
const CACHE_BYTES_MAX = 8 * MiB;
const CACHE_ENTRIES_MAX = 16_384;
/** Weight of a row beside its bytes: Map slot, key text, entry object. */
const ROW_OVERHEAD_BYTES = 200;

export class LayeredEntries implements StateEntries {
  private readonly store: OrderedStore;
  private active: Layer = emptyLayer();
  private frozen: Layer | undefined;
  private young: Layer = emptyLayer();
  private old: Layer = emptyLayer();
  private changes = 0;

  constructor(store: OrderedStore) {
    this.store = store;
  }

  /** Keys changed since the last `freeze`. */
  get changedRows(): number {
    return this.active.rows.size;
  }

  /** Changes since the last `freeze`, with those of one key that follow each other. */
  get changeCount(): number {
    return this.changes;
  }

  /** Weight of what is changed and not frozen. */
  get changedBytes(): number {
    return this.active.bytes;
  }

  /** @throws AetherError E_DATA_CORRUPT */
  read(key: KeyText): StoredEntry | undefined {
    const known = this.active.rows.get(key) ?? this.frozen?.rows.get(key) ?? this.young.rows.get(key);
    const found = known ?? this.readBehind(key);
    return found === "absent" ? undefined : found;
  }

  put(key: KeyText, entry: StoredEntry): void {
    this.change(key, entry);
  }

  remove(key: KeyText): void {
    this.change(key, "absent");
  }

  /** Sets the changes aside, to be written. The next changes go to a new layer. */
  freeze(): ReadonlyMap<KeyText, Layered> {
    assert(this.frozen === undefined, "one checkpoint at a time");
    this.frozen = this.active;
    this.active = emptyLayer();
    this.changes = 0;
    return this.frozen.rows;
  }

  /** The frozen changes are on disk: they are only a cache from here on. */
  thaw(): void {
    assert(this.frozen !== undefined, "nothing is frozen");
    this.old = this.young;
    this.young = this.frozen;
    this.frozen = undefined;
  }

  /** All changes that may not be on disk yet and whose key `matches`, in key order; those of `over` come before. */
  changed(
    matches: (key: KeyText) => boolean,
    over: ReadonlyMap<KeyText, Layered>,
  ): readonly (readonly [key: KeyText, found: Layered])[] {
    const found = new Map<KeyText, Layered>();
    for (const rows of [this.frozen?.rows, this.active.rows, over]) {
      for (const [key, row] of rows ?? []) {
        if (matches(key)) found.set(key, row);
      }
    }
    return [...found].sort(([a], [b]) => compareKeyText(a, b));
  }

  private change(key: KeyText, row: Layered): void {
    this.active.bytes += weightOf(row) - weightOf(this.active.rows.get(key));
    this.active.rows.set(key, row);
    this.changes += 1;
  }

  private readBehind(key: KeyText): Layered {
    const found = this.old.rows.get(key) ?? this.readDisk(key);
    this.remember(key, found);
    return found;
  }

  private readDisk(key: KeyText): Layered {
    const keyBytes = Buffer.from(key);
    const row = this.store.getSync(keyBytes);
    return row === undefined ? "absent" : decodeRow(keyBytes, row);
  }

  private remember(key: KeyText, row: Layered): void {
    if (this.young.bytes > CACHE_BYTES_MAX || this.young.rows.size > CACHE_ENTRIES_MAX) {
      this.old = this.young;
      this.young = emptyLayer();
    }
    this.young.rows.set(key, row);
    this.young.bytes += weightOf(row);
  }
}

function emptyLayer(): Layer {
  return { rows: new Map(), bytes: 0 };
}

function weightOf(row: Layered | undefined): number {
  if (row === undefined) return 0;
  return ROW_OVERHEAD_BYTES + (row === "absent" ? 0 : row.block.length);
}
