// Owns: what every `StorePort` promises. Run on the disk, on memory and on the simulator's store.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { OrderedStore, StoreEntry, StoreOp, StorePort } from "../../../src/env/store.ts";

export interface StoreUnderTest {
  readonly port: StorePort;
  /** Lets time pass until `promise` has settled, for stores on a virtual clock. */
  settle?<T>(promise: Promise<T>): Promise<T>;
  cleanUp?(): Promise<void> | void;
}

/** Registers the suite for the stores that `create` makes: each call gives an empty port. */
export function testOrderedStore(name: string, create: () => StoreUnderTest | Promise<StoreUnderTest>): void {
  describe(`the ordered store of ${name}`, () => {
    let subject: StoreUnderTest;
    let store: OrderedStore;
    let isOpen = false;
    const settle = <T>(promise: Promise<T>): Promise<T> => subject.settle?.(promise) ?? promise;
    const open = async (): Promise<void> => {
      store = await settle(subject.port.open("kv"));
      isOpen = true;
    };
    const close = async (): Promise<void> => {
      if (isOpen) await settle(Promise.resolve(store.close()));
      isOpen = false;
    };
    const write = (...ops: StoreOp[]): Promise<void> => settle(writeTo(store, ops));
    const list = (range: Parameters<OrderedStore["entries"]>[0] = {}): Promise<string[]> =>
      settle(collect(store.entries(range)));

    beforeEach(async () => {
      subject = await create();
      await open();
    });
    afterEach(async () => {
      await close();
      await subject.cleanUp?.();
    });

    test("gives back what was written, and undefined for the rest", async () => {
      await write(put("a", "1"), put("b", ""));
      expect(text(store.getSync(bytes("a")))).toBe("1");
      expect(text(store.getSync(bytes("b")))).toBe("");
      expect(store.getSync(bytes("c"))).toBeUndefined();
    });

    test("applies the operations of one write in order", async () => {
      await write(put("a", "1"), put("a", "2"), remove("b"), put("b", "3"), put("c", "4"), remove("c"), remove("d"));
      expect(await list()).toEqual(["a=2", "b=3"]);
    });

    test("answers writes in the order of calls, and never inside the call", async () => {
      const answers: string[] = [];
      const all = Promise.all(
        ["1", "2", "3", "4"].map(
          (value) =>
            new Promise<void>((resolve) => {
              store.write([put("a", value)], (failure) => {
                answers.push(failure === undefined ? value : failure.message);
                resolve();
              });
            }),
        ),
      );
      expect(answers).toEqual([]);
      await settle(all);
      expect(answers).toEqual(["1", "2", "3", "4"]);
      expect(text(store.getSync(bytes("a")))).toBe("4");
    });

    test("answers an empty write after the ones before it", async () => {
      const answers: string[] = [];
      const first = writeTo(store, [put("a", "1")]).then(() => answers.push("first"));
      const empty = writeTo(store, []).then(() => answers.push("empty"));
      await settle(Promise.all([first, empty]));
      expect(answers).toEqual(["first", "empty"]);
    });

    test("orders keys bytewise and lists half-open ranges both ways", async () => {
      const keys = [[0], [0, 0], [1], [0x7f], [0x80], [0xff], [0xff, 0xff]].map((key) => Uint8Array.from(key));
      await write(...[...keys].reverse().map((key): StoreOp => ({ kind: "put", key, value: bytes("") })));
      const found = async (range: Parameters<OrderedStore["entries"]>[0]): Promise<number[][]> =>
        settle(collectKeys(store.entries(range)));
      expect(await found({})).toEqual(keys.map((key) => [...key]));
      expect(await found({ from: Uint8Array.from([1]), to: Uint8Array.from([0xff]) })).toEqual([[1], [0x7f], [0x80]]);
      expect(await found({ from: Uint8Array.from([0x80]), reverse: true })).toEqual([[0xff, 0xff], [0xff], [0x80]]);
      expect(await found({ from: Uint8Array.from([2]), to: Uint8Array.from([1]) })).toEqual([]);
    });

    test("lists the entries of the moment of the call, whatever is written before they are read", async () => {
      await write(put("a", "1"), put("b", "2"));
      const entries = store.entries({});
      await write(put("a", "9"), remove("b"), put("c", "3"));
      expect(await settle(collect(entries))).toEqual(["a=1", "b=2"]);
      expect(await list()).toEqual(["a=9", "c=3"]);
    });

    test("finds everything again after close and open", async () => {
      await write(put("a", "1"), put("b", "2"));
      await write(remove("a"));
      await close();
      await open();
      expect(await list()).toEqual(["b=2"]);
    });

    test("answers pending writes before close is done", async () => {
      let isAnswered = false;
      store.write([put("a", "1")], () => {
        isAnswered = true;
      });
      await close();
      expect(isAnswered).toBe(true);
      await open();
      expect(await list()).toEqual(["a=1"]);
    });

    test("may be closed again, also while it closes", async () => {
      store.write([put("a", "1")], () => undefined);
      await settle(Promise.all([store.close(), store.close()]));
      await settle(Promise.resolve(store.close()));
      await open();
      expect(await list()).toEqual(["a=1"]);
    });

    test("fails a write after close", async () => {
      await close();
      await expect(settle(writeTo(store, [put("a", "1")]))).rejects.toBeInstanceOf(Error);
    });

    test("refuses to open what is open, and allows it after close", async () => {
      await expect(settle(subject.port.open("kv"))).rejects.toMatchObject({ code: "E_DATA_LOCKED" });
      const other = await settle(subject.port.open("wal"));
      await settle(Promise.resolve(other.close()));
      await close();
      await open();
    });

    test("keeps stores of different names apart", async () => {
      await write(put("a", "1"));
      const other = await settle(subject.port.open("wal"));
      expect(other.getSync(bytes("a"))).toBeUndefined();
      await settle(Promise.resolve(other.close()));
    });

    test("writes a batch that was put together over turns at once, and not before it is told to", async () => {
      await write(put("a", "1"), put("b", "1"));
      const batch = store.begin();
      batch.put(bytes("c"), bytes("2"));
      await write(put("d", "3"));
      batch.delete(bytes("a"));
      batch.put(bytes("d"), bytes("4"));
      expect(await list()).toEqual(["a=1", "b=1", "d=3"]);
      const answers: string[] = [];
      const written = [
        writeTo(store, [put("b", "5")]).then(() => answers.push("before")),
        settle(new Promise<void>((resolve) => batch.write(() => resolve()))).then(() => answers.push("batch")),
        writeTo(store, [put("d", "6")]).then(() => answers.push("after")),
      ];
      expect(answers).toEqual([]);
      await settle(Promise.all(written));
      expect(answers).toEqual(["before", "batch", "after"]);
      expect(await list()).toEqual(["b=5", "c=2", "d=6"]);
      await close();
      await open();
      expect(await list()).toEqual(["b=5", "c=2", "d=6"]);
    });

    test("forgets a batch that is never written", async () => {
      store.begin().put(bytes("a"), bytes("1"));
      await close();
      await open();
      expect(await list()).toEqual([]);
    });

    test("names its stores, and destroys one with everything in it", async () => {
      await write(put("a", "1"));
      const other = await settle(subject.port.open("kv-1"));
      await settle(writeTo(other, [put("a", "2")]));
      await settle(Promise.resolve(other.close()));
      expect(await settle(subject.port.list())).toEqual(expect.arrayContaining(["kv", "kv-1"]));
      await settle(subject.port.destroy("kv-1"));
      await settle(subject.port.destroy("kv-2"));
      expect(await settle(subject.port.list())).not.toContain("kv-1");
      expect(await list()).toEqual(["a=1"]);
      const again = await settle(subject.port.open("kv-1"));
      expect(again.getSync(bytes("a"))).toBeUndefined();
      await settle(Promise.resolve(again.close()));
    });

    test("takes 20,000 entries in one write and lists them", async () => {
      const ops = Array.from({ length: 20_000 }, (_, index) => put(`k${String(index).padStart(6, "0")}`, "x"));
      await write(...ops);
      expect(await list()).toHaveLength(20_000);
      expect(await list({ from: bytes("k019998") })).toEqual(["k019998=x", "k019999=x"]);
    });
  });
}

function put(key: string, value: string): StoreOp {
  return { kind: "put", key: bytes(key), value: bytes(value) };
}

function remove(key: string): StoreOp {
  return { kind: "delete", key: bytes(key) };
}

function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : new TextDecoder().decode(value);
}

function writeTo(store: OrderedStore, ops: readonly StoreOp[]): Promise<void> {
  return new Promise((resolve, reject) => {
    store.write(ops, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}

async function collect(entries: AsyncIterable<StoreEntry>): Promise<string[]> {
  const found: string[] = [];
  for await (const [key, value] of entries) found.push(`${text(key)}=${text(value)}`);
  return found;
}

async function collectKeys(entries: AsyncIterable<StoreEntry>): Promise<number[][]> {
  const found: number[][] = [];
  for await (const [key] of entries) found.push([...key]);
  return found;
}
