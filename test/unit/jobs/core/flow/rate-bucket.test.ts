import { expect, test } from "vitest";
import {
  blockOf, countedAt, isFull, nextRefillMs, takeOf, wholeOf, type Counted, type RateRow,
} from "../../../../../src/jobs/core/flow/rate-bucket.ts";

const ROW: RateRow = { perSecond: 10, burst: 3, tokens: 0 };

test("time becomes tokens, up to the burst, with what is in the row", () => {
  expect(countedAt({ part: 0, atMs: 0 }, ROW, 250)).toEqual({ part: 2.5, atMs: 250 });
  expect(wholeOf({ part: 2.5, atMs: 0 })).toBe(2);
  expect(countedAt({ part: 0, atMs: 0 }, ROW, 60_000).part).toBe(3);
  expect(countedAt({ part: 0.5, atMs: 0 }, { ...ROW, tokens: 2 }, 60_000).part).toBe(1);
  expect(countedAt({ part: 0.5, atMs: 9 }, { ...ROW, tokens: 9 }, 9).part).toBe(0);
  const part: Counted = { part: 1, atMs: 0 };
  expect([isFull({ ...ROW, tokens: 2 }, part), isFull(ROW, part)]).toEqual([true, false]);
});

test("a clock that goes back adds nothing", () => {
  expect(countedAt({ part: 0.5, atMs: 100 }, ROW, 50).part).toBe(0.5);
});

test("thirds of tokens add up to whole ones", () => {
  let counted: Counted = { part: 0, atMs: 0 };
  for (let atMs = 100; atMs <= 300; atMs += 100) counted = countedAt(counted, { ...ROW, perSecond: 10 / 3 }, atMs);
  expect(wholeOf(counted)).toBe(1);
});

test("the leader looks when the next token is due, and not all the time", () => {
  expect(nextRefillMs({ part: 0, atMs: 0 }, ROW)).toBe(100);
  expect(nextRefillMs({ part: 0.9, atMs: 0 }, ROW)).toBe(50);
  expect(nextRefillMs({ part: 0, atMs: 0 }, { ...ROW, perSecond: 1_000 })).toBe(50);
  expect(nextRefillMs({ part: 0, atMs: 0 }, { ...ROW, perSecond: 0.1 })).toBe(10_000);
});

test("a node takes for calls that wait, and leaves some to others", () => {
  expect(blockOf({ ...ROW, tokens: 1 }, 9)).toBe(1);
  expect(blockOf({ ...ROW, tokens: 3 }, 9)).toBe(2);
  expect(blockOf({ perSecond: 1_000, burst: 250, tokens: 60 }, 900)).toBe(50);
  expect(blockOf({ perSecond: 1_000, burst: 250, tokens: 200 }, 900)).toBe(100);
  expect(blockOf({ perSecond: 1_000, burst: 250, tokens: 200 }, 4)).toBe(4);
  expect(blockOf(ROW, 9)).toBe(0);
});

test("a bucket that takes long to fill is filled in parts, twice a second at least", () => {
  expect(nextRefillMs({ part: 0, atMs: 0 }, { perSecond: 1_000, burst: 4_000 })).toBe(200);
  expect(nextRefillMs({ part: 0, atMs: 0 }, { perSecond: 1_000, burst: 60_000 })).toBe(500);
});

test("calls take what they need in their order, the last one more than there is", () => {
  const row: RateRow = { perSecond: 1_000, burst: 60_000, tokens: 900 };
  expect(takeOf(row, [500, 500, 500])).toEqual({ calls: 2, tokens: 1_000 });
  expect(takeOf(row, [90_000])).toEqual({ calls: 1, tokens: 90_000 });
  expect(takeOf({ ...row, tokens: 0 }, [500])).toEqual({ calls: 0, tokens: 0 });
  expect(takeOf({ ...row, tokens: -10 }, [1, 2])).toEqual({ calls: 0, tokens: 0 });
  expect(takeOf({ ...row, tokens: -10 }, [1, 1])).toEqual({ calls: 0, tokens: 0 });
  expect(takeOf({ ...row, tokens: 3 }, [1, 1, 1, 1])).toEqual({ calls: 3, tokens: 3 });
});
