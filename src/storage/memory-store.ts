// Owns: ordered stores in memory, for `durability: memory` and for tests. What is written outlives `close`, not the
// process: opening the same name again at the same port finds it.
import { AetherError } from "../base/errors.ts";
import type { Clock } from "../env/clock.ts";
import type { KeyRange, OrderedStore, StoreBatch, StoreEntry, StoreOp, StorePort } from "../env/store.ts";
import { createOpBatch } from "./op-batch.ts";

/** Bytes as a string of one character per byte, so that a Map finds them and `<` orders them bytewise. */
type ByteText = string;

interface MemoryTable {
  readonly rows: Map<ByteText, StoreEntry>;
  /** Keys in order; undefined when a key came or went since it was made. Never changed in place: listings hold it. */
  order: readonly ByteText[] | undefined;
  isOpen: boolean;
}

/** Writes are answered after the turn, like an fsync that costs nothing. */
export function createMemoryStorePort(clock: Pick<Clock, "defer">): StorePort {
  const tables = new Map<string, MemoryTable>();
  return {
    open(name) {
      const table = tables.get(name) ?? { rows: new Map(), order: undefined, isOpen: false };
      tables.set(name, table);
      if (table.isOpen) {
        const message = `cannot open the memory store "${name}": it is open already; close it first`;
        return Promise.reject(new AetherError("E_DATA_LOCKED", message, { details: { directory: name } }));
      }
      table.isOpen = true;
      return Promise.resolve(new MemoryStore(table, clock));
    },
    list: () => Promise.resolve([...tables.keys()]),
    destroy(name) {
      tables.delete(name);
      return Promise.resolve();
    },
  };
}

class MemoryStore implements OrderedStore {
  private readonly table: MemoryTable;
  private readonly clock: Pick<Clock, "defer">;
  private waiting = 0;
  private closed: Promise<void> | undefined;
  private onIdle: (() => void) | undefined;

  constructor(table: MemoryTable, clock: Pick<Clock, "defer">) {
    this.table = table;
    this.clock = clock;
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    return this.table.rows.get(byteText(key))?.[1];
  }

  write(ops: readonly StoreOp[], done: (failure?: Error) => void): void {
    if (this.closed !== undefined) {
      this.clock.defer(() => done(new AetherError("E_UNAVAILABLE", "a write came after the store was closed")));
      return;
    }
    for (const op of ops) this.apply(op);
    this.waiting += 1;
    this.clock.defer(() => {
      this.waiting -= 1;
      done();
      if (this.waiting === 0) this.onIdle?.();
    });
  }

  begin(): StoreBatch {
    return createOpBatch(this);
  }

  entries(range: KeyRange): AsyncIterable<StoreEntry> {
    const { rows } = this.table;
    const order = this.orderedKeys();
    const from = range.from === undefined ? 0 : lowerBound(order, byteText(range.from));
    const to = range.to === undefined ? order.length : lowerBound(order, byteText(range.to));
    const found = order.slice(from, Math.max(from, to)).map((key) => rows.get(key));
    if (range.reverse === true) found.reverse();
    return iterate(found);
  }

  close(): Promise<void> {
    this.closed ??= this.closeWhenIdle();
    return this.closed;
  }

  private async closeWhenIdle(): Promise<void> {
    if (this.waiting > 0) {
      await new Promise<void>((resolve) => {
        this.onIdle = resolve;
      });
    }
    this.table.isOpen = false;
  }

  private apply(op: StoreOp): void {
    const { rows } = this.table;
    const key = byteText(op.key);
    const isPut = op.kind === "put";
    if (rows.has(key) !== isPut) this.table.order = undefined;
    // Copies, as a disk would have them: the caller may use its bytes again.
    if (isPut) rows.set(key, [Uint8Array.from(op.key), Uint8Array.from(op.value)]);
    else rows.delete(key);
  }

  private orderedKeys(): readonly ByteText[] {
    this.table.order ??= [...this.table.rows.keys()].sort((a, b) => (a < b ? -1 : 1));
    return this.table.order;
  }
}

async function* iterate(rows: readonly (StoreEntry | undefined)[]): AsyncGenerator<StoreEntry> {
  for (const row of rows) {
    if (row !== undefined) yield row;
  }
}

function byteText(bytes: Uint8Array): ByteText {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** Index of the first key that is not before `key`. */
function lowerBound(order: readonly ByteText[], key: ByteText): number {
  let low = 0;
  let high = order.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((order[middle] ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
