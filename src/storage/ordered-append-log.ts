// Owns: a numbered log inside an ordered store: one row per record, one for the base. For stores in memory and in the
// simulator; the log of a real node is made of files.
import { assert } from "../base/assert.ts";
import { AetherError } from "../base/errors.ts";
import type { AppendLog, LogPort, LogRecord } from "../env/append-log.ts";
import type { OrderedStore, StoreOp, StorePort } from "../env/store.ts";

/** Logs as stores of the same names. */
export function createOrderedLogPort(stores: StorePort): LogPort {
  return {
    open: async (name) => OrderedAppendLog.open(await stores.open(name)),
    destroy: (name) => stores.destroy(name),
  };
}

/** Before all records: their keys are eight bytes long. */
const BASE_KEY = Uint8Array.of(0);
/** The number of the oldest record kept goes before the base, in one row with it. */
const NUMBER_BYTES = 8;

export class OrderedAppendLog implements AppendLog {
  base: Uint8Array | undefined;
  first = 1;
  last = 0;
  private readonly store: OrderedStore;

  private constructor(store: OrderedStore) {
    this.store = store;
  }

  /** Closes the store when it cannot be read. */
  static async open(store: OrderedStore): Promise<OrderedAppendLog> {
    const log = new OrderedAppendLog(store);
    try {
      await log.load();
      if (!Number.isSafeInteger(log.first) || !Number.isSafeInteger(log.last)) throw miscounted(log);
    } catch (error) {
      await store.close();
      throw error;
    }
    return log;
  }

  append(bytes: Uint8Array, done: (failure?: Error) => void): void {
    this.last += 1;
    this.store.write([{ kind: "put", key: logRowKey(this.last), value: bytes }], done);
  }

  readSync(number: number): Uint8Array | undefined {
    return number < this.first ? undefined : this.store.getSync(logRowKey(number));
  }

  async *records(): AsyncGenerator<LogRecord> {
    let expected = this.first;
    for await (const [key, bytes] of this.store.entries({ from: logRowKey(this.first) })) {
      const number = numberOf(key);
      if (number !== expected) throw missing(expected, number);
      expected += 1;
      yield { number, bytes };
    }
  }

  cut(firstKept: number, base: Uint8Array, done: (failure?: Error) => void): void {
    assert(firstKept >= this.first && firstKept <= this.last + 1, "a log is cut where it has records");
    const row = Buffer.allocUnsafe(NUMBER_BYTES + base.byteLength);
    row.writeBigUInt64BE(BigInt(firstKept));
    row.set(base, NUMBER_BYTES);
    const ops: StoreOp[] = [{ kind: "put", key: BASE_KEY, value: row }];
    for (let number = this.first; number < firstKept; number++) ops.push({ kind: "delete", key: logRowKey(number) });
    this.first = firstKept;
    this.base = Uint8Array.from(base);
    this.store.write(ops, done);
  }

  close(): Promise<void> {
    return Promise.resolve(this.store.close());
  }

  private async load(): Promise<void> {
    const row = this.store.getSync(BASE_KEY);
    if (row !== undefined) {
      this.first = numberOf(row.subarray(0, NUMBER_BYTES));
      this.base = Uint8Array.from(row.subarray(NUMBER_BYTES));
    }
    this.last = this.first - 1;
    for await (const [key] of this.store.entries({ from: logRowKey(0), reverse: true })) {
      this.last = Math.max(this.last, numberOf(key));
      break;
    }
  }
}

/** Row of a record, in the order of numbers. */
export function logRowKey(number: number): Uint8Array {
  const key = Buffer.allocUnsafe(NUMBER_BYTES);
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

/** Counting would not get on from there: whoever went through the records would never end. */
function miscounted({ first, last }: OrderedAppendLog): AetherError {
  return new AetherError(
    "E_DATA_CORRUPT",
    `the log says that it has the records ${first} to ${last}: keep the directory for analysis and replace the node`,
  );
}
