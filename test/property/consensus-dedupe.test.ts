import * as fc from "fast-check";
import { expect, test } from "vitest";
import { decode, encode } from "../../src/base/codec.ts";
import { DedupeTable, type DedupeSnapshot } from "../../src/consensus/core/dedupe-table.ts";
import { type BatchId, batchKeyOf } from "../../src/consensus/core/message.ts";
import { batchIds } from "./consensus-values.ts";

/** The same, as slowly and plainly as possible. */
class NaiveTable {
  private readonly ran = new Set<string>();
  private readonly newest = new Map<string, number>();

  covers(id: BatchId): boolean {
    return this.ran.has(batchKeyOf(id)) || id.incarnation < (this.newest.get(id.origin) ?? 0);
  }

  mark(id: BatchId): void {
    this.ran.add(batchKeyOf(id));
    this.newest.set(id.origin, id.incarnation);
  }
}

/** Incarnations and sequences begin with 1. */
const ids = batchIds.map((id) => ({ ...id, incarnation: id.incarnation + 1, sequence: id.sequence + 1 }));

test("the table says of every batch what a set of all that ran would say, also after a checkpoint (C8)", () => {
  fc.assert(fc.property(fc.array(ids, { maxLength: 60 }), fc.array(ids, { maxLength: 30 }), (decided, asked) => {
    let table = new DedupeTable();
    const naive = new NaiveTable();
    for (const [at, id] of decided.entries()) {
      expect(table.covers(id)).toBe(naive.covers(id));
      if (!table.covers(id)) {
        table.mark(id);
        naive.mark(id);
      }
      expect(table.covers(id)).toBe(true);
      if (at % 7 === 0) table = reload(table);
    }
    for (const id of asked) expect(table.covers(id)).toBe(naive.covers(id));
  }), { numRuns: 300 });
});

test("the order in which different origins ran does not show in a checkpoint", () => {
  const a = { origin: "a", incarnation: 1, sequence: 1 } as BatchId;
  const b = { origin: "b", incarnation: 2, sequence: 3 } as BatchId;
  const one = new DedupeTable();
  const other = new DedupeTable();
  for (const id of [a, b]) one.mark(id);
  for (const id of [b, a]) other.mark(id);
  expect(encode(one.snapshot())).toEqual(encode(other.snapshot()));
});

test("sequences that ran in order take no space", () => {
  const table = new DedupeTable();
  for (let sequence = 1; sequence <= 1_000; sequence++) {
    table.mark({ origin: "a", incarnation: 1, sequence } as BatchId);
  }
  expect(table.snapshot()).toEqual([["a", 1, 1_000, []]]);
});

test("a batch of an older incarnation than one that ran cannot be marked as run (C8)", () => {
  const table = new DedupeTable();
  table.mark({ origin: "a", incarnation: 2, sequence: 1 } as BatchId);
  expect(() => table.mark({ origin: "a", incarnation: 1, sequence: 5 } as BatchId)).toThrow("C8");
});

function reload(table: DedupeTable): DedupeTable {
  return DedupeTable.restore(decode(encode(table.snapshot()), 1 << 20) as DedupeSnapshot);
}
