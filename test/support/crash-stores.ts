// Owns: stores whose process dies at a chosen step: every store made, write and removal is one. What came before is on
// disk, what comes after never ends.
import type { KeyRange, OrderedStore, StoreEntry, StorePort } from "../../src/env/store.ts";
import { createOpBatch } from "../../src/storage/op-batch.ts";

type Rows = Map<string, StoreEntry>;

export class CrashStores implements StorePort {
  /** Steps so far. */
  steps = 0;
  private readonly stopAfter: number;
  private readonly disks: Map<string, Rows>;

  constructor(stopAfter = Number.POSITIVE_INFINITY, disks: Map<string, Rows> = new Map()) {
    this.stopAfter = stopAfter;
    this.disks = disks;
  }

  /** What a next process finds, which dies after `stopAfter` steps of its own. */
  restarted(stopAfter = Number.POSITIVE_INFINITY): CrashStores {
    return new CrashStores(stopAfter, new Map([...this.disks].map(([name, rows]) => [name, new Map(rows)])));
  }

  get names(): readonly string[] {
    return [...this.disks.keys()].sort();
  }

  /** Changes one byte of a row. */
  damage(name: string, key: Uint8Array, at: number): void {
    const rows = this.disks.get(name);
    const row = rows?.get(Buffer.from(key).toString("latin1"));
    if (rows === undefined || row === undefined) throw new RangeError("no such row");
    const value = Buffer.from(row[1]);
    value.writeUInt8(value.readUInt8(at) ^ 1, at);
    rows.set(Buffer.from(key).toString("latin1"), [row[0], value]);
  }

  async open(name: string): Promise<OrderedStore> {
    if (!this.disks.has(name)) await this.step(() => this.disks.set(name, new Map()));
    const rows = this.disks.get(name) ?? new Map<string, StoreEntry>();
    const store: OrderedStore = {
      getSync: (key) => rows.get(Buffer.from(key).toString("latin1"))?.[1],
      begin: () => createOpBatch(store),
      entries: (range) => listed(rows, range),
      close: () => Promise.resolve(),
      write: (ops, done) => {
        const apply = (): void => {
          for (const op of ops) {
            const text = Buffer.from(op.key).toString("latin1");
            if (op.kind === "put") rows.set(text, [Uint8Array.from(op.key), Uint8Array.from(op.value)]);
            else rows.delete(text);
          }
        };
        void this.step(apply).then(() => done());
      },
    };
    return store;
  }

  list(): Promise<readonly string[]> {
    return Promise.resolve(this.names);
  }

  destroy(name: string): Promise<void> {
    return this.step(() => this.disks.delete(name));
  }

  private step(act: () => void): Promise<void> {
    this.steps += 1;
    if (this.steps > this.stopAfter) return new Promise(() => undefined);
    act();
    return Promise.resolve();
  }
}

function listed(rows: Rows, range: KeyRange): AsyncIterable<StoreEntry> {
  const from = Buffer.from(range.from ?? []).toString("latin1");
  const to = range.to === undefined ? undefined : Buffer.from(range.to).toString("latin1");
  const keys = [...rows.keys()].filter((key) => key >= from && (to === undefined || key < to)).sort(byCodeUnit);
  if (range.reverse === true) keys.reverse();
  return iterate(keys.map((key) => rows.get(key)));
}

async function* iterate(found: readonly (StoreEntry | undefined)[]): AsyncGenerator<StoreEntry> {
  for (const entry of found) if (entry !== undefined) yield await Promise.resolve(entry);
}

function byCodeUnit(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
