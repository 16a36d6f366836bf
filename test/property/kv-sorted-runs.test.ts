import fc from "fast-check";
import { expect, test } from "vitest";
import { compareKeyText, type KeyText } from "../../src/kvstore/core/key.ts";
import { inKeyOrder, SortedRuns } from "../../src/kvstore/core/sorted-runs.ts";

// Beyond U+FFFF the order of bytes is not that of the units of a string.
const key = fc.string({ unit: fc.constantFrom("a", "b", "/", "\uffee", "😀"), minLength: 1, maxLength: 4 })
  .map((text) => text as KeyText);

test("what was added in any order is found in key order, from any key on", () => {
  fc.assert(fc.property(
    fc.array(key, { minLength: 500, maxLength: 1_100 }), key, fc.constantFrom("", "a", "b/", "😀"),
    (keys, after, prefix) => {
      const from = compareKeyText(after, prefix as KeyText) > 0 ? after : prefix as KeyText;
      const runs = new SortedRuns<{ readonly key: KeyText }>();
      for (const one of keys) runs.add({ key: one });
      const found = [...inKeyOrder(runs.runs({ prefix, from }), { prefix, from })].map((one) => one.key);
      const inRange = keys.filter((one) => one.startsWith(prefix) && compareKeyText(one, from) >= 0);
      expect(found).toEqual(inRange.sort(compareKeyText));
    },
  ), { numRuns: 50 });
});

test("of things with one key, those of the first runs come first", () => {
  const runs = ["new", "old", "oldest"].map((age) => [{ key: "data/a" as KeyText, age }]);
  const all = { prefix: "", from: "data/a" as KeyText };
  expect([...inKeyOrder(runs, all)].map(({ age }) => age)).toEqual(["new", "old", "oldest"]);
});
