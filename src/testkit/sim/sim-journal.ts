// Owns: the journal of a simulated node: the records of the real format, each in a row of a simulated disk. A crash may
// leave the first write that it lost torn, some of its sectors there and some not; what a start makes of that is for
// the code that reads the files of a real node.
import { assert } from "../../base/assert.ts";
import type { Random } from "../../base/random.ts";
import type { AppendLog, LogPort, LogRecord } from "../../env/append-log.ts";
import type { OrderedStore, StoreOp, StorePort } from "../../env/store.ts";
import {
  decodeLogRecord,
  encodeLogRecord,
  encodeSegmentHead,
  scanSegment,
  SECTOR_BYTES,
} from "../../storage/core/segment-format.ts";
import { logRowKey, OrderedAppendLog } from "../../storage/ordered-append-log.ts";

const PATH = "the simulated journal";
const SEGMENT = 1;
const RECORD_KEY_BYTES = logRowKey(0).byteLength;

export function createSimLogPort(stores: StorePort): LogPort {
  return {
    open: async (name) => SimJournal.open(await stores.open(name)),
    destroy: (name) => stores.destroy(name),
  };
}

/** What a crash leaves of a write of one record: undefined for a write that is whole or not there. */
export function tearRecord(ops: readonly StoreOp[], random: Random): readonly StoreOp[] | undefined {
  const [op] = ops;
  // Anything else goes to the database beside the records, as one write.
  if (ops.length !== 1 || op?.kind !== "put" || op.key.byteLength !== RECORD_KEY_BYTES) return undefined;
  if (random.below(2) === 0) return undefined;
  const value = Uint8Array.from(op.value);
  for (let at = 0; at < value.byteLength; at += SECTOR_BYTES) {
    if (random.below(2) === 0) value.fill(0, at, at + SECTOR_BYTES);
  }
  return [{ ...op, value }];
}

class SimJournal implements AppendLog {
  private readonly rows: OrderedAppendLog;

  constructor(rows: OrderedAppendLog) {
    this.rows = rows;
  }

  /** @throws AetherError E_DATA_CORRUPT */
  static async open(store: OrderedStore): Promise<SimJournal> {
    const rows = await OrderedAppendLog.open(store);
    try {
      const whole = await findWhole(rows);
      if (whole === rows.last) return new SimJournal(rows);
      assert(whole === rows.last - 1, "only the last record of a log can be torn");
      await remove(store, rows.last);
      return new SimJournal(await OrderedAppendLog.open(store));
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  get base(): Uint8Array | undefined {
    return this.rows.base;
  }

  get first(): number {
    return this.rows.first;
  }

  get last(): number {
    return this.rows.last;
  }

  append(bytes: Uint8Array, done: (failure?: Error) => void): void {
    this.rows.append(encodeLogRecord(this.rows.last + 1, bytes), done);
  }

  readSync(number: number): Uint8Array | undefined {
    const row = this.rows.readSync(number);
    return row === undefined ? undefined : decodeLogRecord(bufferOf(row), number, PATH);
  }

  async *records(): AsyncGenerator<LogRecord> {
    for await (const { number, bytes } of this.rows.records()) {
      yield { number, bytes: decodeLogRecord(bufferOf(bytes), number, PATH) };
    }
  }

  cut(firstKept: number, base: Uint8Array, done: (failure?: Error) => void): void {
    this.rows.cut(firstKept, base, done);
  }

  close(): Promise<void> {
    return this.rows.close();
  }
}

/** The last record that is whole, as the rows lie one after the other in a file that was blank. */
async function findWhole(rows: OrderedAppendLog): Promise<number> {
  const parts: Uint8Array[] = [encodeSegmentHead(SEGMENT)];
  for await (const { bytes } of rows.records()) parts.push(bytes);
  const { records } = scanSegment(Buffer.concat(parts), rows.first, PATH);
  return records.at(-1)?.number ?? rows.first - 1;
}

function remove(store: OrderedStore, number: number): Promise<void> {
  return new Promise((resolve, reject) => {
    store.write([{ kind: "delete", key: logRowKey(number) }], (failure) => {
      if (failure === undefined) resolve();
      else reject(failure);
    });
  });
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
