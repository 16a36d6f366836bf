// Owns: where an entry is found: a bounded cache, which holds every change that is not yet on disk, then the disk.
// Does not own: when a checkpoint is due.
import { assert } from "../base/assert.ts";
import { MiB } from "../base/units.ts";
import type { OrderedStore } from "../env/store.ts";
import type { KeyText } from "./core/key.ts";
import { inKeyOrder, type KeyRange, SortedRuns } from "./core/sorted-runs.ts";
import type { StateEntries } from "./core/state-machine.ts";
import { decodeRow, type StoredEntry } from "./core/stored-entry.ts";

/** What is known of a key: its entry, or that it has none. */
export type Layered = StoredEntry | "absent";

/** A key that is known here: the one place for it, so that an operation on it looks it up once. */
interface Cell {
  readonly key: KeyText;
  row: Layered;
  /** In the round of this number it was changed last. */
  round: number;
  /** What a checkpoint under way is to write, when it was changed again since. */
  frozen: Layered | undefined;
  /** Read since the last look at what may go. */
  isUsed: boolean;
}

// What is on disk as well is forgotten beyond these.
const CACHE_BYTES_MAX = 16 * MiB;
const CACHE_ENTRIES_MAX = 32_768;
/** Weight of a row beside its bytes: Map slot, key text, cell, entry object. */
const ROW_OVERHEAD_BYTES = 250;
/** Cells looked at for each that comes, at most: many are changes that wait for the disk. */
const LOOKS_PER_CELL = 32;
/** Of cells that were never changed. */
const ON_DISK = 0;

export class LayeredEntries implements StateEntries {
  private readonly store: OrderedStore;
  private readonly cells = new Map<KeyText, Cell>();
  /** The cell found last: whoever writes a key has just read it. */
  private last: Cell | undefined;
  private bytes = 0;
  /** Raised by each freeze. */
  private round = ON_DISK + 1;
  /** Cells changed in this round, and what they weigh. */
  private active: Cell[] = [];
  private activeOrder = new SortedRuns<Cell>();
  private activeBytes = 0;
  private changes = 0;
  /** Cells of the round before, while it is written. */
  private frozen: readonly Cell[] | undefined;
  private frozenOrder = new SortedRuns<Cell>();
  private frozenBytes = 0;
  /** Goes round over the cells to find some that may go. */
  private hand: Iterator<Cell> | undefined;

  constructor(store: OrderedStore) {
    this.store = store;
  }

  /** Keys changed since the last `freeze`. */
  get changedRows(): number {
    return this.active.length;
  }

  /** Changes since the last `freeze`, with those of one key that follow each other. */
  get changeCount(): number {
    return this.changes;
  }

  /** Bytes of the entries changed since the last `freeze`, which a checkpoint hands over at once. */
  get changedBytes(): number {
    return this.activeBytes - this.active.length * ROW_OVERHEAD_BYTES;
  }

  /** Weight of everything here, on disk or not. */
  get heldBytes(): number {
    return this.bytes;
  }

  /** @throws AetherError E_DATA_CORRUPT */
  read(key: KeyText): StoredEntry | undefined {
    const { row } = this.find(key) ?? this.add(key, this.readDisk(key));
    return row === "absent" ? undefined : row;
  }

  put(key: KeyText, entry: StoredEntry): void {
    this.change(key, entry);
  }

  remove(key: KeyText): void {
    this.change(key, "absent");
  }

  /** Sets the changes aside, to be written. What they give stays as it is now, whatever changes meanwhile. */
  freeze(): Iterable<readonly [key: KeyText, row: Layered]> {
    assert(this.frozen === undefined, "one checkpoint at a time");
    const frozen = this.active;
    this.frozen = frozen;
    this.frozenOrder = this.activeOrder;
    this.frozenBytes = this.activeBytes;
    this.active = [];
    this.activeOrder = new SortedRuns();
    this.activeBytes = 0;
    this.changes = 0;
    this.round += 1;
    return rowsOf(frozen);
  }

  /** The frozen changes are on disk: they are only a cache from here on. */
  thaw(): void {
    assert(this.frozen !== undefined, "nothing is frozen");
    for (const cell of this.frozen) cell.frozen = undefined;
    this.frozen = undefined;
    this.frozenOrder = new SortedRuns();
    this.frozenBytes = 0;
  }

  /**
   * Changes of the range that may not be on disk yet, in key order; those of `over` come before. It ends when it has
   * more than `limit` entries: a page of so many needs no more.
   */
  changed(
    range: KeyRange,
    over: ReadonlyMap<KeyText, Layered>,
    limit: number,
  ): readonly (readonly [key: KeyText, found: Layered])[] {
    const above = new SortedRuns<Pick<Cell, "key" | "row">>();
    for (const [key, row] of over) above.add({ key, row });
    const layers = [above, this.activeOrder, this.frozenOrder];
    const found: [KeyText, Layered][] = [];
    let present = 0;
    for (const { key, row } of inKeyOrder(layers.flatMap((layer) => [...layer.runs(range)]), range)) {
      if (found.at(-1)?.[0] === key) continue;
      found.push([key, row]);
      if (row !== "absent") present += 1;
      if (present > limit) break;
    }
    return found;
  }

  private find(key: KeyText): Cell | undefined {
    const { last } = this;
    if (last?.key === key) return last;
    const cell = this.cells.get(key);
    if (cell === undefined) return undefined;
    cell.isUsed = true;
    this.last = cell;
    return cell;
  }

  private add(key: KeyText, row: Layered): Cell {
    const cell: Cell = { key, row, round: ON_DISK, frozen: undefined, isUsed: true };
    this.cells.set(key, cell);
    this.bytes += weightOf(row);
    this.last = cell;
    this.forgetSome();
    return cell;
  }

  private change(key: KeyText, row: Layered): void {
    const cell = this.find(key) ?? this.add(key, "absent");
    this.changes += 1;
    const grown = weightOf(row) - weightOf(cell.row);
    this.bytes += grown;
    if (cell.round === this.round) {
      this.activeBytes += grown;
    } else {
      if (this.isFrozen(cell)) cell.frozen = cell.row;
      cell.round = this.round;
      this.active.push(cell);
      this.activeOrder.add(cell);
      this.activeBytes += weightOf(row);
    }
    cell.row = row;
  }

  private isFrozen(cell: Cell): boolean {
    return this.frozen !== undefined && cell.round === this.round - 1;
  }

  private readDisk(key: KeyText): Layered {
    const keyBytes = Buffer.from(key);
    const row = this.store.getSync(keyBytes);
    return row === undefined ? "absent" : decodeRow(keyBytes, row);
  }

  /** A little at a time, so that nothing ever waits for it: a cell goes when it was not read for a whole round. */
  private forgetSome(): void {
    for (let looks = 0; looks < LOOKS_PER_CELL && this.isFull; looks++) {
      this.hand ??= this.cells.values();
      const next = this.hand.next();
      if (next.done === true) this.hand = undefined;
      else this.look(next.value);
    }
  }

  private get isFull(): boolean {
    const onDisk = this.cells.size - this.active.length - (this.frozen?.length ?? 0);
    return onDisk > CACHE_ENTRIES_MAX || this.bytes - this.activeBytes - this.frozenBytes > CACHE_BYTES_MAX;
  }

  private look(cell: Cell): void {
    if (cell.round === this.round || this.isFrozen(cell) || cell.frozen !== undefined || cell === this.last) return;
    if (cell.isUsed) {
      cell.isUsed = false;
      return;
    }
    this.cells.delete(cell.key);
    this.bytes -= weightOf(cell.row);
  }
}

function* rowsOf(cells: readonly Cell[]): Generator<readonly [key: KeyText, row: Layered]> {
  for (const { key, row, frozen } of cells) yield [key, frozen ?? row];
}

function weightOf(row: Layered): number {
  return ROW_OVERHEAD_BYTES + (row === "absent" ? 0 : row.block.length);
}
