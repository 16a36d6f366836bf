import { expect, test } from "vitest";
import { isSameValue, storable } from "../../../../src/cluster/core/plain-value.ts";

test("absent, undefined and null are the same after a way through the store", () => {
  expect(isSameValue({ config: undefined }, {})).toBe(true);
  expect(isSameValue({ config: undefined }, { config: null })).toBe(true);
  expect(isSameValue({ config: undefined }, { config: 0 })).toBe(false);
});

test("the order of fields does not matter, the order of items does", () => {
  expect(isSameValue({ a: 1, b: [1, 2] }, { b: [1, 2], a: 1 })).toBe(true);
  expect(isSameValue([1, 2], [2, 1])).toBe(false);
  expect(isSameValue([], {})).toBe(false);
});

test("a storable value has no undefined", () => {
  expect(storable({ a: undefined, b: [undefined, { c: undefined }] })).toEqual({ b: [null, {}] });
});
