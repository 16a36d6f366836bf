import { expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import type { OrderedStore } from "../../../src/env/store.ts";
import { encodeTxn } from "../../../src/kvstore/core/txn.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import { KvGenerations } from "../../../src/kvstore/kv-generations.ts";
import { KvHistory, type HistorySizes } from "../../../src/kvstore/kv-history.ts";
import { KvState } from "../../../src/kvstore/kv-state.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { OrderedAppendLog } from "../../../src/storage/ordered-append-log.ts";
import { joinCommands, SILENT_LOG } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const KEY = parseKeyText("data/a");
const SIZES: HistorySizes = {
  revisionsMax: 100, bytesMax: 100_000, rowsForgotten: 1, rowBytes: 500, recentRevisions: 4, recentBytes: 1_000,
  waitingBytes: 5_000,
};

async function openState() {
  const clock = new ManualClock();
  const port = createMemoryStorePort(clock);
  const onFatal = (error: Error): void => expect.fail(error.message);
  const generations = await KvGenerations.open(port);
  return { clock, port, state: KvState.open({ generations, clock, log: SILENT_LOG, cluster: "c", onFatal }) };
}

test("a disk that cannot keep up gets no more; the past begins anew and goes on once it has caught up", async () => {
  const { clock, port, state } = await openState();
  const waiting: (() => void)[] = [];
  const warned: unknown[] = [];
  const log = { ...SILENT_LOG, warn: (fields: unknown) => warned.push(fields) };
  const disk = await OrderedAppendLog.open(slow(await port.open("past"), waiting));
  const history = KvHistory.open({ state, disk, log, cluster: "c", sizes: SIZES });
  const put = (count: number): void => {
    for (let at = 0; at < count; at++) {
      const then = [{ kind: "put" as const, key: KEY, value: "x".repeat(100) }];
      state.applyBatch(joinCommands([encodeTxn({ compare: [], then, else: [] })]));
    }
  };
  const land = async (): Promise<void> => {
    while (waiting.length > 0) {
      for (const write of waiting.splice(0)) write();
      await clock.settle();
    }
  };

  put(500);
  expect(warned).toHaveLength(1);
  expect(history.weight.memoryBytes).toBeLessThan(SIZES.waitingBytes + 2 * SIZES.rowBytes);
  expect(history.oldest).toBeGreaterThan(490);
  // Checkpoints do not wait for it.
  let isReady = false;
  state.endSlot(0, () => Uint8Array.of(1));
  void state.checkpoint().then(() => (isReady = true));
  await clock.settle();
  expect(isReady).toBe(true);

  await land();
  put(20);
  await land();
  expect(history.oldest).toBeLessThanOrEqual(501);
  expect(history.read(501)[0]?.revision).toBe(501);
  expect(warned).toHaveLength(1);
});

/** A store whose writes happen when they are taken from `waiting`. */
function slow(store: OrderedStore, waiting: (() => void)[]): OrderedStore {
  return {
    getSync: (key) => store.getSync(key),
    begin: () => store.begin(),
    entries: (range) => store.entries(range),
    close: () => store.close(),
    write: (ops, done) => void waiting.push(() => store.write(ops, done)),
  };
}

test("a log that says that it begins or ends where nothing is, is opened all the same", async () => {
  const { clock, port, state } = await openState();
  const disk = await OrderedAppendLog.open(await port.open("past"));
  KvHistory.open({ state, disk, log: SILENT_LOG, cluster: "c", sizes: SIZES });
  state.applyBatch(joinCommands([encodeTxn({ compare: [], then: [{ kind: "put", key: KEY, value: 1 }], else: [] })]));
  state.endSlot(0, () => Uint8Array.of(1));
  await Promise.all([state.checkpoint(), clock.settle()]);
  for (let count = 0; count < 5; count++) {
    disk.cut(disk.last + 1, disk.base ?? new Uint8Array(0), () => undefined);
    await clock.settle();
  }

  disk.last = 2 ** 45;
  const again = KvHistory.open({ state, disk, log: SILENT_LOG, cluster: "c", sizes: SIZES });
  expect(again.oldest).toBe(state.revision + 1);
});

test("a disk that does not give the past is told as that, once, and not as damage; what follows is held", async () => {
  const { clock, port, state } = await openState();
  const told: unknown[] = [];
  const log = { ...SILENT_LOG, error: (fields: { readonly event: string }) => told.push(fields.event) };
  const disk = await OrderedAppendLog.open(await port.open("past"));
  const history = KvHistory.open({ state, disk, log, cluster: "c", sizes: SIZES });
  const put = (): void => {
    const then = [{ kind: "put" as const, key: KEY, value: "x".repeat(100) }];
    state.applyBatch(joinCommands([encodeTxn({ compare: [], then, else: [] })]));
  };
  for (let count = 0; count < 40; count++) {
    put();
    await clock.settle();
  }
  const { oldest } = history;
  disk.readSync = () => {
    throw new AetherError("E_DISK", "the disk does not give it");
  };
  expect(() => history.read(oldest)).toThrow(expect.objectContaining({ code: "E_COMPACTED" }));
  expect(told).toEqual(["kv.history-abandoned"]);
  put();
  expect(history.read(history.revision)).toMatchObject([{ revision: 41 }]);
  expect(() => history.read(oldest)).toThrow(expect.objectContaining({ code: "E_COMPACTED" }));
  expect(told).toHaveLength(1);
});
