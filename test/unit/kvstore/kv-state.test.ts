import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AetherError } from "../../../src/base/errors.ts";
import type { OrderedStore, StoreBatch, StoreOp, StorePort } from "../../../src/env/store.ts";
import { encodeGrant } from "../../../src/kvstore/core/command.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import type { Op } from "../../../src/kvstore/core/schema.ts";
import { leaseRow } from "../../../src/kvstore/core/system-rows.ts";
import { encodeTxn } from "../../../src/kvstore/core/txn.ts";
import { KvGenerations } from "../../../src/kvstore/kv-generations.ts";
import type { KvListQuery } from "../../../src/kvstore/kv.ts";
import { KvState } from "../../../src/kvstore/kv-state.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { createOpBatch } from "../../../src/storage/op-batch.ts";
import { batchOf, joinCommands, SILENT_LOG } from "../../support/local-kv.ts";
import { portOf } from "../../support/one-store.ts";
import { ManualClock } from "../../support/manual-clock.ts";

let clock: ManualClock;
let disk: SlowDisk;
let fatal: AetherError[];
let state: KvState;
let slot: number;

/** A store whose writes reach the disk when the test says so. */
class SlowDisk implements OrderedStore {
  readonly held: (() => void)[] = [];
  readonly writes: (readonly StoreOp[])[] = [];
  isHolding = false;
  failure: Error | undefined;
  onWrite: (() => void) | undefined;
  readonly stores: StorePort;
  private readonly inner: OrderedStore;

  constructor(stores: StorePort, inner: OrderedStore) {
    this.stores = stores;
    this.inner = inner;
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    return this.inner.getSync(key);
  }

  write(ops: readonly StoreOp[], done: (failure?: Error) => void): void {
    this.writes.push(ops);
    this.onWrite?.();
    const write = (): void => (this.failure ? done(this.failure) : this.inner.write(ops, done));
    if (this.isHolding) this.held.push(write);
    else write();
  }

  begin(): StoreBatch {
    return createOpBatch(this);
  }

  entries(range: Parameters<OrderedStore["entries"]>[0]): ReturnType<OrderedStore["entries"]> {
    return this.inner.entries(range);
  }

  async close(): Promise<void> {
    await this.inner.close();
  }

  /** Lets everything held be written. */
  release(): void {
    this.isHolding = false;
    for (const write of this.held.splice(0)) write();
  }
}

const put = (name: string, value: unknown): Op => ({ kind: "put", key: parseKeyText(`data/${name}`), value });
const remove = (name: string): Op => ({ kind: "delete", key: parseKeyText(`data/${name}`) });

async function openState(cluster = "c1"): Promise<KvState> {
  const generations = await KvGenerations.open(portOf(disk));
  return KvState.open({ generations, clock, log: SILENT_LOG, cluster, onFatal: (error) => fatal.push(error) });
}

/** Applies one slot with one command per list. */
function applySlot(...txns: Op[][]): readonly unknown[] {
  const results = state.applyBatch(joinCommands(txns.map((then) => encodeTxn({ compare: [], then, else: [] }))));
  const mark = Buffer.from(`after ${slot}`);
  state.endSlot(slot, () => mark);
  slot += 1;
  return results;
}

const valueOf = (name: string): unknown => state.getLocal(parseKeyText(`data/${name}`)).entry?.value;

async function listed(query: Partial<KvListQuery> = {}): Promise<string[]> {
  const page = await state.listLocal({ prefix: "data/", ...query });
  return page.entries.map((entry) => `${entry.key.slice(5)}=${String(entry.value)}`);
}

async function reopen(): Promise<void> {
  const closed = state.close();
  await clock.settle();
  await closed;
  state = await openState();
}

beforeEach(async () => {
  clock = new ManualClock();
  const stores = createMemoryStorePort(clock);
  disk = new SlowDisk(stores, await stores.open("kv"));
  fatal = [];
  slot = 0;
  state = await openState();
});
afterEach(() => expect(fatal.map((error) => error.code)).toEqual([]));

describe("applying", () => {
  test("gives one result per command, also for garbage", () => {
    const results = state.applyBatch(batchOf(7, [1, [], [], []], { a: 1 }));
    expect(results).toMatchObject([{ kind: "refused" }, { kind: "done", succeeded: true }, { kind: "refused" }]);
    expect(state.applyBatch(Uint8Array.from([0xc1]))).toEqual([]);
    expect(state.applyBatch(batchOf()).length).toBe(0);
    expect(state.revision).toBe(0);
  });

  test("is seen by local reads at once", () => {
    applySlot([put("a", 1)], [put("a", 2), put("b", { x: 1 })]);
    expect(state.getLocal(parseKeyText("data/a"))).toMatchObject({
      revision: 2,
      entry: { value: 2, modRevision: 2, version: 2 },
    });
    expect(valueOf("b")).toEqual({ x: 1 });
    expect(state.getLocal(parseKeyText("data/none"))).toEqual({ revision: 2 });
  });

  test("tells listeners of each revision that changed something, once", () => {
    const seen: string[] = [];
    const stop = state.onChanges((revision, changes) => seen.push(`${revision}:${changes.length}`));
    applySlot([put("a", 1), put("b", 1)], [remove("none")], [remove("a")]);
    stop();
    applySlot([put("a", 1)]);
    expect(seen).toEqual(["1:2", "2:1"]);
  });
});

describe("a checkpoint", () => {
  test("holds exactly what was applied at the end of its slot, and its mark", async () => {
    applySlot([put("a", 1)]);
    disk.isHolding = true;
    const done = state.checkpoint();
    applySlot([put("a", 2)], [put("b", 1)]);
    const { revision } = state;
    expect(revision).toBe(3);
    disk.release();
    await clock.settle();
    await done;
    // A crash: nothing of the second slot is on disk, and consensus replays it.
    state = await openState();
    expect(Buffer.from(state.loadedMark ?? []).toString()).toBe("after 0");
    expect(state.revision).toBe(1);
    expect(await listed()).toEqual(["a=1"]);
  });

  test("brings back revision, hash, versions and deletions after a restart", async () => {
    applySlot([put("a", 1)], [put("b", 1)], [put("a", 2)], [remove("b")]);
    const { revision, stateHash } = state;
    await reopen();
    expect(state).toMatchObject({ revision, stateHash });
    expect(await listed()).toEqual(["a=2"]);
    applySlot([put("a", 3)]);
    expect(state.getLocal(parseKeyText("data/a")).entry).toMatchObject({ version: 3, createRevision: 1 });
    await reopen();
    expect(await listed()).toEqual(["a=3"]);
  });

  test("starts when more than 262,144 changes wait, one at a time", async () => {
    // 32,768 of them, 128 in each transaction.
    const changes = (value: number): Op[][] => {
      const ops = Array.from({ length: 128 }, (_, at) => put(at === 0 ? "hot" : `hot${at}`, value));
      return Array.from({ length: 256 }, () => ops);
    };
    disk.isHolding = true;
    for (let batch = 0; batch < 8; batch++) applySlot(...changes(1));
    expect(disk.writes).toHaveLength(0);
    applySlot([put("hot", 2)]);
    expect(disk.writes).toHaveLength(1);
    for (let batch = 0; batch < 9; batch++) applySlot(...changes(3));
    expect(disk.writes).toHaveLength(1);
    disk.release();
    await clock.settle();
    expect(disk.writes).toHaveLength(2);
    expect(valueOf("hot")).toBe(3);
  });

  test("starts when more than 131,072 keys or 40 MiB wait", async () => {
    for (let some = 0; some < 4; some++) {
      applySlot(...Array.from({ length: 32_768 }, (_, index) => [put(`k${some}/${index}`, 1)]));
    }
    expect(disk.writes).toHaveLength(0);
    applySlot([put("one more", 1)]);
    await clock.advance(10);
    expect(disk.writes).toHaveLength(1);
    applySlot(...Array.from({ length: 85 }, (_, index) => [put(`big${index}`, "x".repeat(500_000))]));
    await clock.advance(10);
    expect(disk.writes).toHaveLength(2);
  });

  test("comes 10 s after the first slot that is not on disk, and not while nothing happens", async () => {
    applySlot([put("a", 1)]);
    await clock.advance(9_999);
    expect(disk.writes).toHaveLength(0);
    await clock.advance(1);
    expect(disk.writes).toHaveLength(1);
    await clock.advance(60_000);
    expect(disk.writes).toHaveLength(1);
  });

  test("is never taken inside a slot", async () => {
    applySlot([put("a", 1)]);
    state.applyBatch(joinCommands([encodeTxn({ compare: [], then: [put("b", 1)], else: [] })]));
    await clock.advance(10_000);
    await state.checkpoint();
    expect(disk.writes).toHaveLength(0);
    state.endSlot(1, () => Uint8Array.from([1]));
    await clock.advance(10_000);
    expect(disk.writes).toHaveLength(1);
  });

  test("waits until the log has everything it stands for", async () => {
    let open: (decision: "write" | "skip") => void = () => expect.fail("the gate was not asked");
    state.gateCheckpoints((ready) => (open = ready));
    applySlot([put("a", 1)]);
    const done = state.checkpoint();
    applySlot([put("a", 2)]);
    expect(disk.writes).toHaveLength(0);
    open("write");
    await clock.settle();
    await done;
    state = await openState();
    expect(await listed()).toEqual(["a=1"]);
  });

  test("is not written by a group that has stopped, nor is a later one", async () => {
    state.gateCheckpoints((ready) => ready("skip"));
    applySlot([put("a", 1)]);
    await state.checkpoint();
    applySlot([put("a", 2)]);
    await state.close();
    expect(disk.writes).toHaveLength(0);
    expect(valueOf("a")).toBe(2);
  });

  test("does not come after close, whatever is applied then", async () => {
    const closed = state.close();
    await clock.settle();
    await closed;
    applySlot([put("a", 1)]);
    await clock.advance(60_000);
    expect(disk.writes).toHaveLength(0);
  });

  test("that is asked for under load does not wait for the load to end", async () => {
    // Whenever one ends the next one is due.
    const large = Array.from({ length: 85 }, (_, index) => [put(`k${index}`, "x".repeat(500_000))]);
    const load = (): unknown => applySlot(...large);
    disk.onWrite = () => disk.writes.length < 8 && load();
    load();
    const writesWhenDone = state.checkpoint().then(() => disk.writes.length);
    await clock.advance(100);
    expect(disk.writes).toHaveLength(8);
    expect(await writesWhenDone).toBeLessThanOrEqual(3);
  });

  test("that fails is fatal, and nothing is applied or written afterwards", async () => {
    applySlot([put("a", 1)]);
    disk.failure = new RangeError("no space left on device");
    await state.checkpoint();
    expect(fatal.splice(0)).toMatchObject([{ code: "E_DISK", message: expect.stringContaining("no space") }]);
    expect(applySlot([put("a", 2)])).toEqual([{ kind: "lost" }]);
    await clock.advance(60_000);
    await state.close();
    expect(disk.writes).toHaveLength(1);
    expect(state.revision).toBe(1);
  });

  test("that fails ends reading too: what consensus still answers says nothing about this state", async () => {
    applySlot([put("a", 1)]);
    disk.failure = new RangeError("no space left on device");
    await state.checkpoint();
    expect(fatal.splice(0)).toMatchObject([{ code: "E_DISK" }]);
    expect(applySlot([put("a", 2)])).toEqual([{ kind: "lost" }]);
    const refusal = { code: "E_UNAVAILABLE", outcome: undefined, message: expect.stringContaining("another node") };
    expect(() => valueOf("a")).toThrow(expect.objectContaining(refusal));
    await expect(listed()).rejects.toMatchObject(refusal);
  });

  test("is handed over in pieces; what is applied between them is not in it", async () => {
    applySlot(...Array.from({ length: 2_000 }, (_, index) => [put(`k${index}`, "before")]));
    const done = state.checkpoint();
    await clock.settle();
    expect(disk.writes).toHaveLength(0);
    applySlot([put("k1999", "meanwhile")]);
    expect(valueOf("k0")).toBe("before");
    await clock.advance(10);
    await done;
    expect(disk.writes.map((ops) => ops.length)).toEqual([2_001]);
    state = await openState();
    expect([valueOf("k1999"), state.revision]).toEqual(["before", 2_000]);
  });

  test("is told of once it is durable, with the slots that need no log any more", async () => {
    const told: number[] = [];
    state.onCheckpoint((appliedSlots) => told.push(appliedSlots));
    applySlot([put("a", 1)]);
    applySlot([put("a", 2)]);
    disk.isHolding = true;
    const done = state.checkpoint();
    await clock.settle();
    expect(told).toEqual([]);
    disk.release();
    await clock.settle();
    await done;
    expect(told).toEqual([2]);
  });
});

describe("a list", () => {
  test("merges changes that are on disk, being written and only in memory", async () => {
    applySlot([put("a", 1), put("b", 1), put("c", 1), put("d", 1)]);
    const first = state.checkpoint();
    await clock.settle();
    await first;
    disk.isHolding = true;
    applySlot([put("b", 2), remove("c"), put("e", 2)]);
    const second = state.checkpoint();
    applySlot([put("d", 3), remove("e"), put("aa", 3)]);
    expect(await listed()).toEqual(["a=1", "aa=3", "b=2", "d=3"]);
    disk.release();
    await clock.settle();
    await second;
    expect(await listed()).toEqual(["a=1", "aa=3", "b=2", "d=3"]);
    expect(await listed({ after: "data/a" })).toEqual(["aa=3", "b=2", "d=3"]);
    expect(await listed({ prefix: "data/a" })).toEqual(["a=1", "aa=3"]);
    expect(await listed({ prefix: "" })).toEqual(["a=1", "aa=3", "b=2", "d=3"]);
    expect(await listed({ prefix: "data/x" })).toEqual([]);
  });

  test("goes backwards over the same, from any key", async () => {
    applySlot([put("a", 1), put("b", 1), put("c", 1), put("d", 1)]);
    const first = state.checkpoint();
    await clock.settle();
    await first;
    applySlot([put("b", 2), remove("c"), put("bb", 2), put("e", 2)]);
    const order = "descending" as const;
    expect(await listed({ order })).toEqual(["e=2", "d=1", "bb=2", "b=2", "a=1"]);
    expect(await listed({ order, limit: 2 })).toEqual(["e=2", "d=1"]);
    expect(await listed({ order, limit: 2, after: "data/d" })).toEqual(["bb=2", "b=2"]);
    expect(await listed({ order, after: "data/c" })).toEqual(["bb=2", "b=2", "a=1"]);
    expect(await listed({ order, prefix: "data/b" })).toEqual(["bb=2", "b=2"]);
    expect(await listed({ order, after: "data/a" })).toEqual([]);
    expect(await listed({ order, prefix: "data/b", after: "zz" })).toEqual(["bb=2", "b=2"]);
  });

  test("is of the moment of its call", async () => {
    applySlot([put("a", 1), put("b", 1)]);
    const list = listed();
    applySlot([put("a", 2), remove("b"), put("c", 2)]);
    expect(await list).toEqual(["a=1", "b=1"]);
  });

  test("comes in pages of the wanted size that join without gap or repeat", async () => {
    applySlot(...Array.from({ length: 10 }, (_, index) => [put(`k${index}`, index)]));
    const page = await state.listLocal({ prefix: "data/", limit: 4 });
    expect(page).toMatchObject({ revision: 10, more: true });
    expect(await listed({ limit: 4, after: page.entries.at(-1)?.key ?? "" })).toEqual(["k4=4", "k5=5", "k6=6", "k7=7"]);
    expect(await state.listLocal({ prefix: "data/", limit: 10 })).toMatchObject({ more: false });
  });

  test("ends a page at 1 MiB", async () => {
    applySlot(...Array.from({ length: 5 }, (_, index) => [put(`k${index}`, "x".repeat(400_000))]));
    const page = await state.listLocal({ prefix: "data/" });
    expect([page.entries.length, page.more]).toEqual([2, true]);
  });

  test.each([0, 1_001, 1.5, Number.NaN])("refuses a limit of %d", async (limit) => {
    await expect(state.listLocal({ prefix: "data/", limit })).rejects.toMatchObject({ code: "E_INVALID" });
  });

  test("orders keys by their bytes in memory and on disk", async () => {
    applySlot([put("\uffff", 1), put("\u{1f600}", 2), put("z", 3)]);
    const inMemory = await listed();
    await reopen();
    expect(await listed()).toEqual(inMemory);
  });
});

describe("a damaged disk", () => {
  async function damageRow(text: string, index: number): Promise<void> {
    const key = Buffer.from(text);
    const row = Buffer.from(disk.getSync(key) ?? []);
    row.writeUInt8(row.readUInt8(index) ^ 1, index);
    disk.write([{ kind: "put", key, value: row }], () => undefined);
    await clock.settle();
  }

  test("is fatal when an entry is read, listed or changed", async () => {
    for (const use of [
      async () => expect(() => valueOf("a")).toThrow(expect.objectContaining({ code: "E_DATA_CORRUPT" })),
      async () => expect(listed()).rejects.toMatchObject({ code: "E_DATA_CORRUPT" }),
      async () => expect(applySlot([put("a", 2)])).toEqual([{ kind: "lost" }]),
    ]) {
      state = await openState();
      if (state.loadedMark === undefined) {
        applySlot([put("a", "value")]);
        await reopen();
        await damageRow("data/a", 30);
        state = await openState();
      }
      await use();
      expect(fatal.splice(0)).toMatchObject([{ code: "E_DATA_CORRUPT" }]);
    }
  });

  test("is fatal when all leases are read", async () => {
    const grant = joinCommands([encodeGrant(10_000, false)]);
    expect(state.applyBatch(grant)).toMatchObject([{ kind: "granted", lease: 1 }]);
    applySlot([put("a", 1)]);
    await reopen();
    await damageRow(leaseRow(1), 6);
    state = await openState();
    await expect(state.leases()).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
    expect(fatal.splice(0)).toMatchObject([{ code: "E_DATA_CORRUPT" }]);
  });

  test("is refused at start when the checkpoint record is damaged or missing", async () => {
    applySlot([put("a", 1)]);
    await reopen();
    const key = Uint8Array.from([0]);
    const row = Buffer.from(disk.getSync(key) ?? []);
    row.writeUInt8(row.readUInt8(5) ^ 1, 5);
    const stores = disk.stores;
    disk.write([{ kind: "put", key, value: row }], () => undefined);
    await clock.settle();
    await expect(openState()).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
    disk = new SlowDisk(stores, await stores.open("kv"));
    disk.write([{ kind: "delete", key }], () => undefined);
    await clock.settle();
    await expect(openState()).rejects.toThrow(/rows \("data\/a"\) but no checkpoint record/);
  });

  test("of another cluster is refused", async () => {
    applySlot([put("a", 1)]);
    await reopen();
    await expect(openState("c2")).rejects.toMatchObject({
      code: "E_DATA_FOREIGN",
      details: { found: "c1", expected: "c2" },
    });
  });
});
