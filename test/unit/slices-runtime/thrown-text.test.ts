import { expect, test } from "vitest";
import { describeThrown, stackOf } from "../../../src/slices/core/thrown-text.ts";

const hidden: unknown = expect.stringContaining("cannot be shown");
const strange = Object.assign(new RangeError("x"), { message: { toString: null } });

test.each([
  ["an error", new RangeError("too far"), { name: "RangeError", message: "too far" }],
  ["a text", "boo", { name: "string", message: "boo" }],
  ["an object without a text", { toString: null }, { name: "object", message: hidden }],
  ["an error whose message is none", strange, { name: "RangeError", message: hidden }],
  ["a symbol", Symbol("s"), { name: "symbol", message: "Symbol(s)" }],
  ["nothing", undefined, { name: "undefined", message: "undefined" }],
])("%s has a text", (_what, thrown, text) => {
  expect(describeThrown(thrown)).toEqual(text);
  expect(typeof stackOf(thrown)).toBe("string");
});

test("long texts are cut", () => {
  expect(describeThrown(new Error("x".repeat(1e6))).message).toHaveLength(2_000);
  expect(describeThrown(`${"x".repeat(1_999)}\u{1f389}`).message.at(-1)).toBe("\ufffd");
});
