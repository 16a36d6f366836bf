import fc from "fast-check";
import { expect, test } from "vitest";
import type { NodeUid } from "../../../../src/base/ids.ts";
import { KiB, MiB } from "../../../../src/base/units.ts";
import { type LogEntry, valueOf } from "../../../../src/consensus/core/message.ts";
import { RecentLog } from "../../../../src/consensus/core/recent-log.ts";

const ALL = Number.POSITIVE_INFINITY;
/** Contents are views of it: what counts is their length. */
const CONTENT = new Uint8Array(9 * MiB);

function entry(slot: number, bytes = 100): LogEntry {
  const outcome = valueOf([{ origin: "u1" as NodeUid, incarnation: 1, sequence: slot }]);
  return { slot, outcome, contents: [CONTENT.subarray(0, bytes)] };
}

function filled(from: number, below: number, bytes?: number): RecentLog {
  const log = new RecentLog();
  for (let slot = from; slot < below; slot++) log.add(entry(slot, bytes));
  return log;
}

const slotsOf = (entries: readonly LogEntry[]): readonly number[] => entries.map(({ slot }) => slot);

test("gives slots from any that it has on, as many as wanted", () => {
  const log = filled(10, 20);
  expect(slotsOf(log.read(12, ALL, 15))).toEqual([12, 13, 14]);
  expect(slotsOf(log.read(17, ALL, ALL))).toEqual([17, 18, 19]);
  expect(slotsOf(log.read(10, 200, ALL)), "the one that passes the limit is the last").toEqual([10, 11]);
  expect(slotsOf(log.read(10, 1, ALL)), "at least one").toEqual([10]);
});

test("gives nothing when the first slot is not here", () => {
  const log = filled(10, 20);
  for (const from of [0, 9, 20, 2_000]) expect(log.read(from, ALL, ALL)).toEqual([]);
});

test("keeps 1,024 slots, or 8 MiB", () => {
  const many = filled(5, 3_000);
  expect(many.read(3_000 - 1_025, ALL, ALL)).toEqual([]);
  expect(many.read(3_000 - 1_024, ALL, ALL)).toHaveLength(1_024);
  const large = filled(0, 100, 512 * KiB);
  expect(large.read(84, ALL, ALL)).toEqual([]);
  expect(large.read(85, ALL, ALL)).toHaveLength(15);
  const huge = filled(0, 3, 9 * MiB);
  expect(huge.read(2, ALL, ALL)).toEqual([]);
  huge.add(entry(3));
  expect(huge.read(3, ALL, ALL)).toHaveLength(1);
});

test("begins anew at a slot that does not follow the last one", () => {
  for (const next of [12, 40]) {
    const log = filled(10, 20);
    log.add(entry(next, 7));
    for (const from of [10, 11, 19].filter((slot) => slot !== next)) expect(log.read(from, ALL, ALL)).toEqual([]);
    expect(log.read(next, ALL, ALL)).toEqual([entry(next, 7)]);
  }
});

test("is a suffix of what was applied, within both limits", () => {
  const sizes = fc.array(fc.constantFrom(0, 100, 100 * KiB, 3 * MiB), { maxLength: 60 });
  const adds = fc.array(fc.record({ jump: fc.constantFrom(0, 0, 0, 5, -3), sizes }), { maxLength: 6 });
  fc.assert(fc.property(adds, (parts) => {
    const log = new RecentLog();
    let end = 100;
    let model: LogEntry[] = [];
    for (const part of parts) {
      if (part.jump !== 0 && part.sizes.length > 0) model = [];
      if (part.sizes.length > 0) end += part.jump;
      for (const size of part.sizes) {
        model.push(entry(end, size));
        log.add(entry(end, size));
        end += 1;
      }
    }
    const kept = model.findIndex(({ slot }) => log.read(slot, 1, ALL).length > 0);
    const expected = kept < 0 ? [] : model.slice(kept);
    if (kept > 0) {
      const weight = (list: readonly LogEntry[]): number => list.reduce((sum, { contents }) => {
        return sum + (contents[0]?.byteLength ?? 0) + 64;
      }, 0);
      expect(weight(expected)).toBeLessThanOrEqual(8 * MiB);
      expect(weight(model.slice(kept - 1)), "no more is dropped than must be").toBeGreaterThan(8 * MiB);
    }
    expect(slotsOf(log.read(expected[0]?.slot ?? end, ALL, ALL))).toEqual(slotsOf(expected));
  }));
});
