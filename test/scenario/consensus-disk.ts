// Owns: a disk whose writes end when a story says so, and which forgets what had not ended when its process dies.
import { present } from "../../src/base/assert.ts";
import type { KeyRange, OrderedStore, StoreBatch, StoreEntry, StoreOp } from "../../src/env/store.ts";
import { createOpBatch } from "../../src/storage/op-batch.ts";

interface WaitingWrite {
  readonly ops: readonly StoreOp[];
  readonly done: (failure?: Error) => void;
}

export class HandDisk implements OrderedStore {
  /** Writes stay under way until this is false again. */
  isStalled = false;
  /** Writes that ended. */
  writes = 0;
  private rows = new Map<string, StoreEntry>();
  private waiting: WaitingWrite[] = [];

  getSync(key: Uint8Array): Uint8Array | undefined {
    return this.rows.get(textOf(key))?.[1];
  }

  write(ops: readonly StoreOp[], done: (failure?: Error) => void): void {
    this.waiting.push({ ops, done });
  }

  begin(): StoreBatch {
    return createOpBatch(this);
  }

  async *entries(range: KeyRange): AsyncGenerator<StoreEntry> {
    const from = textOf(range.from ?? Uint8Array.of());
    const rows = [...this.rows.entries()].filter(([text]) => text >= from).sort(([a], [b]) => (a < b ? -1 : 1));
    if (range.reverse === true) rows.reverse();
    for (const [, row] of rows) yield await Promise.resolve(row);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Ends the writes under way. False when there were none. */
  endWrites(): boolean {
    if (this.isStalled || this.waiting.length === 0) return false;
    const ending = this.waiting;
    this.waiting = [];
    for (const { ops, done } of ending) {
      for (const op of ops) this.put(op);
      this.writes += 1;
      done();
    }
    return true;
  }

  /** Ends the one write of a start that nobody can wait for from outside. */
  endWritesSoon(): void {
    const poll = (turnsLeft: number): void => {
      if (!this.endWrites() && turnsLeft > 0) setImmediate(() => poll(turnsLeft - 1));
    };
    poll(1_000);
  }

  get rowCount(): number {
    return this.rows.size;
  }

  dropWaiting(): void {
    this.waiting = [];
  }

  /** What it holds now, as a disk of its own: a backup. */
  copy(): HandDisk {
    const copy = new HandDisk();
    copy.rows = new Map(this.rows);
    return copy;
  }

  /** Changes the value of row `at` in place, like rot. */
  damage(at: number, change: (value: Buffer) => void): void {
    const { text, row } = this.rowAt(at);
    const value = Buffer.from(row[1]);
    change(value);
    this.rows.set(text, [row[0], value]);
  }

  remove(at: number): void {
    this.rows.delete(this.rowAt(at).text);
  }

  swap(one: number, other: number): void {
    const first = this.rowAt(one);
    const second = this.rowAt(other);
    this.rows.set(first.text, [first.row[0], second.row[1]]);
    this.rows.set(second.text, [second.row[0], first.row[1]]);
  }

  /** Row `at` becomes that of another disk. */
  take(other: HandDisk, at: number): void {
    this.rows.set(this.rowAt(at).text, other.rowAt(at).row);
  }

  private rowAt(at: number): { readonly text: string; readonly row: StoreEntry } {
    const rows = [...this.rows.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
    const [text, row] = present(rows[at], "the disk has this row");
    return { text, row };
  }

  private put(op: StoreOp): void {
    if (op.kind === "put") this.rows.set(textOf(op.key), [op.key, op.value]);
    else this.rows.delete(textOf(op.key));
  }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}
