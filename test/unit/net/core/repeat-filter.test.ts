import { describe, expect, test } from "vitest";
import { RepeatFilter } from "../../../../src/net/core/repeat-filter.ts";

describe("a repeat filter", () => {
  test("says a thing once per interval, and at once again when it was settled", () => {
    const filter = new RepeatFilter(30, 10);
    expect([0, 29, 30, 31].map((nowMs) => filter.shouldSay("n2 lost", nowMs))).toEqual([true, false, true, false]);
    filter.forget("n2 ");
    expect(filter.shouldSay("n2 lost", 32)).toBe(true);
  });

  test("forgets the oldest thing rather than grow", () => {
    const filter = new RepeatFilter(30, 2);
    for (const key of ["a", "b", "c"]) filter.shouldSay(key, 0);
    expect([filter.shouldSay("c", 1), filter.shouldSay("a", 1)]).toEqual([false, true]);
  });
});
