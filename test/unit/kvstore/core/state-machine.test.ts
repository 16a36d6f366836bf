import { beforeEach, describe, expect, test } from "vitest";
import { decode } from "../../../../src/base/codec.ts";
import { parseKeyText, type KeyText } from "../../../../src/kvstore/core/key.ts";
import type { Compare, Op } from "../../../../src/kvstore/core/schema.ts";
import { KvStateMachine, type CommandResult } from "../../../../src/kvstore/core/state-machine.ts";
import { decodeRow, toKvEntry, type StoredEntry } from "../../../../src/kvstore/core/stored-entry.ts";
import { encodeTxn } from "../../../../src/kvstore/core/txn.ts";

const a = parseKeyText("data/a");
const b = parseKeyText("data/b");
const put = (key: KeyText, value: unknown): Op => ({ kind: "put", key, value });
const remove = (key: KeyText): Op => ({ kind: "delete", key });
const get = (key: KeyText): Op => ({ kind: "get", key });

let entries: Map<KeyText, StoredEntry>;
let machine: KvStateMachine;

function openMachine(): KvStateMachine {
  entries = new Map();
  return new KvStateMachine(
    {
      read: (key) => entries.get(key),
      put: (key, entry) => entries.set(key, entry),
      remove: (key) => entries.delete(key),
    },
    { revision: 0, stateHash: 0 },
  );
}

function run(then: readonly Op[], compare: readonly Compare[] = [], otherwise: readonly Op[] = []): CommandResult {
  const command = encodeTxn({ compare, then, else: otherwise });
  return machine.apply(decode(command, command.byteLength));
}

function holds(compare: Compare): boolean {
  const result = run([], [compare]);
  return result.kind === "done" && result.succeeded;
}

beforeEach(() => {
  machine = openMachine();
});

describe("revisions", () => {
  test("grow by one with each transaction that changes something, and only then", () => {
    expect(run([put(a, 1), put(b, 2)])).toMatchObject({ revision: 1 });
    expect(run([get(a)])).toMatchObject({ revision: 1, changes: [] });
    expect(run([remove(parseKeyText("data/none"))])).toMatchObject({ revision: 1, changes: [] });
    expect(run([put(a, 3)], [{ key: a, target: "version", op: "=", value: 9 }])).toMatchObject({
      succeeded: false,
      revision: 1,
    });
    expect(run([remove(a)])).toMatchObject({ revision: 2, results: [{ kind: "delete", deleted: true }] });
    expect(machine.revision).toBe(2);
  });

  test("of an entry say when it came, when it changed and how often", () => {
    run([put(a, 1)]);
    run([put(b, 1)]);
    run([put(a, 2)]);
    expect(toKvEntry(a, entries.get(a)!)).toEqual({ key: a, value: 2, createRevision: 1, modRevision: 3, version: 2 });
    run([remove(a)]);
    run([put(a, 3)]);
    expect(entries.get(a)).toMatchObject({ createRevision: 5, modRevision: 5, version: 1 });
  });
});

describe("several operations on one key", () => {
  test("apply in order and are all changes", () => {
    const result = run([put(a, 1), get(a), put(a, 2), remove(a), get(a), remove(a), put(a, 3), get(a)]);
    expect(result).toMatchObject({
      revision: 1,
      results: [
        { kind: "put" },
        { kind: "get", entry: { version: 1, modRevision: 1 } },
        { kind: "put" },
        { kind: "delete", deleted: true },
        { kind: "get", entry: undefined },
        { kind: "delete", deleted: false },
        { kind: "put" },
        { kind: "get", entry: { version: 1, createRevision: 1 } },
      ],
    });
    const kinds = result.kind === "done" ? result.changes.map((change) => change.kind) : [];
    expect(kinds).toEqual(["put", "put", "delete", "put"]);
    const before = result.kind === "done" ? result.changes.map((change) => change.before?.version) : [];
    expect(before).toEqual([undefined, 1, 2, undefined]);
  });
});

describe("compares", () => {
  test.each([
    ["version", "=", 0, true],
    ["modRevision", "=", 0, true],
    ["modRevision", ">", 0, false],
    ["exists", "=", false, true],
    ["exists", "!=", false, false],
    ["value", "=", null, false],
    ["value", "!=", null, true],
    ["value", "<", 1, false],
    ["value", ">", 1, false],
  ])("on an absent key: %s %s %j is %s", (target, op, value, isTrue) => {
    expect(holds({ key: a, target, op, value } as Compare)).toBe(isTrue);
  });

  test.each([
    [5, "=", 5, true],
    [5, "!=", 5, false],
    [5, "<", 6, true],
    [5, ">", 6, false],
    ["b", ">", "a", true],
    ["b", "<", "a", false],
    ["5", "<", 6, false],
    [null, "<", 1, false],
    [{ x: 1, y: 2 }, "=", { y: 2, x: 1 }, true],
    [[1], "<", [2], false],
  ] as const)("on the value %j: %s %j is %s", (stored, op, value, isTrue) => {
    run([put(a, stored)]);
    expect(holds({ key: a, target: "value", op, value })).toBe(isTrue);
  });

  test("decide between then and else as a whole", () => {
    run([put(a, 1)]);
    const isHere: Compare = { key: a, target: "exists", op: "=", value: true };
    const isAlsoHere: Compare = { key: b, target: "exists", op: "=", value: true };
    expect(run([put(b, "then")], [isHere, isAlsoHere], [put(b, "else")])).toMatchObject({ succeeded: false });
    expect(toKvEntry(b, entries.get(b)!).value).toBe("else");
    expect(run([put(b, "then")], [isHere, isAlsoHere], [])).toMatchObject({ succeeded: true });
  });
});

describe("the state hash", () => {
  test("is equal for equal histories and differs with value, key, order and deletion", () => {
    const hashOf = (...txns: Op[][]): number => {
      machine = openMachine();
      for (const ops of txns) run(ops);
      return machine.stateHash;
    };
    const hashes = [
      hashOf([put(a, 1)], [put(b, 1)]),
      hashOf([put(b, 1)], [put(a, 1)]),
      hashOf([put(a, 1), put(b, 1)]),
      hashOf([put(a, 1)], [put(b, 2)]),
      hashOf([put(a, 1)], [put(b, 1)], [remove(b)]),
      hashOf([put(a, 1)], [put(b, 1)], [remove(a)]),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(hashOf([put(a, 1)], [put(b, 1)])).toBe(hashes[0]);
  });
});

describe("an entry", () => {
  test("is found damaged when any byte of its row differs, or when it lies under another key", () => {
    run([put(a, "some value")]);
    const { key, value } = entries.get(a)!.row;
    expect(toKvEntry(a, decodeRow(key, value)).value).toBe("some value");
    for (let index = 0; index < value.length; index++) {
      const damaged = Buffer.from(value);
      damaged.writeUInt8(damaged.readUInt8(index) ^ 0x10, index);
      expect(() => decodeRow(key, damaged)).toThrow(expect.objectContaining({ code: "E_DATA_CORRUPT" }));
    }
    expect(() => decodeRow(Buffer.from("data/b"), value)).toThrow(/data\/b/);
    expect(() => decodeRow(key, value.subarray(0, 10))).toThrow(expect.objectContaining({ code: "E_DATA_CORRUPT" }));
  });
});
