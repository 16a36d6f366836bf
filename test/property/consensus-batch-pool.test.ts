// The pool against a plain list of where each batch is: never lost, never in two slots that both hold it.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { BatchPool } from "../../src/consensus/core/batch-pool.ts";
import { type BatchId, batchKeyOf, type Value, valueOf } from "../../src/consensus/core/message.ts";
import { batchIds, uidNamed } from "./consensus-values.ts";

const actions = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("add" as const), id: batchIds, bytes: fc.nat(40) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("propose" as const), ids: fc.integer({ min: 1, max: 4 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("null" as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("run" as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const), id: batchIds }) },
  ),
  { maxLength: 80 },
);

const BYTES_MAX = 60;

test("a batch is unassigned or in one slot until it runs; null slots return theirs; values keep their limits", () => {
  fc.assert(fc.property(actions, (list) => {
    const pool = new BatchPool();
    const waiting = new Map<string, BatchId>();
    const bytesOf = new Map<string, number>();
    const slots: { readonly slot: number; readonly value: Value }[] = [];
    let nextSlot = 0;
    for (const action of list) {
      switch (action.kind) {
        case "add": {
          const key = batchKeyOf(action.id);
          const isHere = pool.get(key) !== undefined;
          expect(pool.add(action.id, new Uint8Array(action.bytes), 0)).toBe(!isHere);
          if (!isHere) {
            waiting.set(key, action.id);
            bytesOf.set(key, action.bytes);
          }
          break;
        }
        case "propose": {
          const value = pool.nextValue(action.ids, BYTES_MAX);
          expect(value === undefined).toBe(waiting.size === 0);
          if (value === undefined) break;
          checkValue(value, action.ids, { waiting, bytesOf });
          pool.assign(value, nextSlot);
          slots.push({ slot: nextSlot++, value });
          for (const id of value.batches) waiting.delete(batchKeyOf(id));
          break;
        }
        case "null": {
          const [ended] = slots.splice(action.which % Math.max(1, slots.length), 1);
          if (ended === undefined) break;
          pool.release(ended.value, ended.slot);
          for (const id of ended.value.batches) {
            if (pool.get(batchKeyOf(id)) !== undefined) waiting.set(batchKeyOf(id), id);
          }
          break;
        }
        case "run": {
          const [ended] = slots.splice(action.which % Math.max(1, slots.length), 1);
          for (const id of ended?.value.batches ?? []) pool.remove(batchKeyOf(id));
          break;
        }
        case "restart":
          pool.removeOlder(action.id.origin, action.id.incarnation);
          for (const [key, id] of waiting) {
            if (id.origin === action.id.origin && id.incarnation < action.id.incarnation) waiting.delete(key);
          }
          break;
      }
      expect(pool.unassignedCount).toBe(waiting.size);
      expect(pool.oldestUnassignedMs() === undefined).toBe(waiting.size === 0);
    }
    const left: string[] = [];
    for (;;) {
      const value = pool.nextValue(256, 1 << 20);
      if (value === undefined) break;
      pool.assign(value, nextSlot++);
      left.push(...value.batches.map(batchKeyOf));
    }
    expect(left.sort()).toEqual([...waiting.keys()].sort());
  }), { numRuns: 500 });
});

function checkValue(
  value: Value,
  idsMax: number,
  known: { readonly waiting: ReadonlyMap<string, BatchId>; readonly bytesOf: ReadonlyMap<string, number> },
): void {
  const { waiting, bytesOf } = known;
  const keys = value.batches.map(batchKeyOf);
  expect(new Set(keys).size).toBe(keys.length);
  expect(keys.length).toBeLessThanOrEqual(idsMax);
  for (const key of keys) expect(waiting.has(key)).toBe(true);
  const bytes = keys.reduce((sum, key) => sum + (bytesOf.get(key) ?? 0), 0);
  if (keys.length > 1) expect(bytes).toBeLessThanOrEqual(BYTES_MAX);
  // Of each origin the oldest, in order and without holes.
  for (const origin of new Set(value.batches.map((id) => id.origin))) {
    const taken = value.batches.filter((id) => id.origin === origin).map(batchKeyOf);
    const all = [...waiting.values()].filter((id) => id.origin === origin).sort(byAge).map(batchKeyOf);
    expect(all.slice(0, taken.length)).toEqual(taken);
  }
}

function byAge(a: BatchId, b: BatchId): number {
  return a.incarnation - b.incarnation || a.sequence - b.sequence;
}

test("an origin with many batches does not keep the others waiting", () => {
  const pool = new BatchPool();
  for (let sequence = 1; sequence <= 50; sequence++) pool.add(idOf("u1", sequence), new Uint8Array(1), 0);
  for (const name of ["u2", "u3"]) pool.add(idOf(name, 1), new Uint8Array(1), 0);
  const value = present(pool.nextValue(3, 1 << 20), "batches wait");
  expect(value.batches.map((id) => id.origin).sort()).toEqual(["u1", "u2", "u3"]);
});

test("a batch larger than the limit of a value is proposed alone", () => {
  const pool = new BatchPool();
  pool.add(idOf("u1", 1), new Uint8Array(100), 0);
  pool.add(idOf("u1", 2), new Uint8Array(1), 0);
  expect(pool.nextValue(256, BYTES_MAX)?.batches).toHaveLength(1);
});

test("a batch is given to the journal once", () => {
  const pool = new BatchPool();
  const id = idOf("u1", 1);
  pool.add(id, new Uint8Array(1), 0);
  pool.add(idOf("u1", 2), new Uint8Array(1), 0, "journaled");
  const value = valueOf([id, idOf("u1", 2), idOf("u9", 9)]);
  expect(pool.takeUnjournaled(value).map((batch) => batch.key)).toEqual([batchKeyOf(id)]);
  expect(pool.takeUnjournaled(value)).toEqual([]);
});

test("a pool of thousands of batches empties value by value, each batch once", () => {
  const pool = new BatchPool();
  for (let sequence = 1; sequence <= 20_000; sequence++) pool.add(idOf("u1", sequence), new Uint8Array(1), 0);
  let taken = 0;
  for (let slot = 0; ; slot++) {
    const value = pool.nextValue(256, 1 << 20);
    if (value === undefined) break;
    pool.assign(value, slot);
    taken += value.batches.length;
    for (const id of value.batches) pool.remove(batchKeyOf(id));
  }
  expect(taken).toBe(20_000);
});

function idOf(origin: string, sequence: number): BatchId {
  return { origin: uidNamed(origin), incarnation: 1, sequence };
}
