import { describe, expect, test } from "vitest";
import { VALUE_BYTES_MAX } from "../../../../src/kvstore/core/limits.ts";
import { decodeValue, encodeValue } from "../../../../src/kvstore/core/value.ts";

describe("a value", () => {
  test.each([
    [null],
    [true],
    [0],
    [-1.5],
    [2 ** 53 - 1],
    ["ü😀"],
    [[]],
    [{}],
    [{ a: [1, { b: null }], "": "x" }],
    [[[["deep"]]]],
  ])("survives encode and decode: %j", (value) => {
    expect(decodeValue(encodeValue(value))).toEqual(value);
  });

  test("may hold bytes, which are not shared with the store", () => {
    const stored = Uint8Array.from(encodeValue({ raw: Uint8Array.from([1, 2, 3]) }));
    const { raw } = decodeValue(stored) as { raw: Uint8Array };
    expect([...raw]).toEqual([1, 2, 3]);
    raw.fill(9);
    expect(decodeValue(stored)).toEqual({ raw: Uint8Array.from([1, 2, 3]) });
  });

  test("has the same bytes whatever the order of its fields", () => {
    const a = encodeValue({ b: 1, a: { y: [1], x: 2 } });
    const b = encodeValue({ a: { x: 2, y: [1] }, b: 1 });
    expect(Buffer.compare(a, b)).toBe(0);
  });

  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  test.each([
    ["undefined", undefined, ""],
    ["an undefined field", { a: { b: undefined } }, "a.b"],
    ["a hole", [1, , 3], "1"],
    ["NaN", { n: [NaN] }, "n.0"],
    ["Infinity", Infinity, ""],
    ["a function", { f: () => 1 }, "f"],
    ["a bigint", 1n, ""],
    ["a symbol", Symbol("s"), ""],
    ["a Date", { at: new Date(0) }, "at"],
    ["a Map", new Map(), ""],
    ["a class instance", new (class Point {})(), ""],
    ["half a surrogate pair, which has no UTF-8", { texts: ["ü😀", "\ud83d"] }, "texts.1"],
    ["long text with half a surrogate pair", `${"x".repeat(100)}\udfff`, ""],
    ["a field named by half a surrogate pair", { ["\ud83d"]: 1 }, "\ud83d"],
    ["a field __proto__", JSON.parse('{"__proto__": 1}'), ""],
  ])("cannot be %s", (_name, value, path) => {
    expect(() => encodeValue(value)).toThrow(
      expect.objectContaining({ code: "E_INVALID", details: expect.objectContaining({ path }) }),
    );
  });

  test("cannot contain itself", () => {
    expect(() => encodeValue(cycle)).toThrow(/contains itself/);
  });

  test("may be exactly 512 KiB, and a byte more is refused with limit and actual", () => {
    const overhead = encodeValue("x".repeat(VALUE_BYTES_MAX - 100)).byteLength - (VALUE_BYTES_MAX - 100);
    const largest = "x".repeat(VALUE_BYTES_MAX - overhead);
    expect(encodeValue(largest)).toHaveLength(VALUE_BYTES_MAX);
    expect(() => encodeValue(`${largest}x`)).toThrow(
      expect.objectContaining({
        code: "E_TOO_LARGE",
        details: { limit: VALUE_BYTES_MAX, actual: VALUE_BYTES_MAX + 1 },
      }),
    );
  });
});
