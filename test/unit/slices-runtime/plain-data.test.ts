import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, encode } from "../../../src/base/codec.ts";
import { plainRefusalError, toPlain } from "../../../src/slices/core/plain-data.ts";

const LIMIT = 1_000_000;

describe("what may travel in a call", () => {
  test("JSON data arrives the same by structured clone and by MessagePack, and is never larger than counted", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        fc.pre(!JSON.stringify(value).includes("__proto__"));
        const plain = toPlain(value, LIMIT);
        if (plain.kind !== "plain") return expect.unreachable();
        const bytes = encode(plain.value);
        expect(bytes.byteLength).toBeLessThanOrEqual(plain.bytes);
        expect(normalize(decode(bytes, LIMIT))).toEqual(normalize(value));
        expect(normalize(structuredClone(plain.value))).toEqual(normalize(value));
      }),
    );
  });

  test("what it gives is what comes back of it, to the last bit of a text or a number", () => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(fc.anything({ values: [text, fc.double(), fc.boolean()], key: text }), (value) => {
        const plain = toPlain(value, LIMIT);
        if (plain.kind !== "plain") return;
        expect(isDeepStrictEqual(decode(encode(plain.value), LIMIT), plain.value)).toBe(true);
      }),
    );
    expect(toPlain(["half of \ud83d", "\udc00\ud83d\ude00", -0], LIMIT)).toMatchObject({
      value: ["half of \ufffd", "\ufffd\ud83d\ude00", 0],
    });
  });

  test("whatever it is given, it answers, and what it lets through can be cloned", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true }), (value) => {
        const plain = toPlain(value, LIMIT);
        if (plain.kind === "plain") structuredClone(plain.value);
      }),
    );
  });

  test("undefined, bytes and dates are what a reader of JSON expects, or better", () => {
    expect(toPlain(undefined, LIMIT)).toMatchObject({ kind: "plain", value: undefined });
    expect(toPlain({ a: undefined, b: [undefined, 1] }, LIMIT)).toMatchObject({ value: { b: [null, 1] } });
    expect(toPlain({ at: new Date(0) }, LIMIT)).toMatchObject({ value: { at: "1970-01-01T00:00:00.000Z" } });
    const pool = new Uint8Array(1_000);
    const plain = toPlain(pool.subarray(0, 3), LIMIT);
    expect(plain.kind === "plain" && plain.value instanceof Uint8Array && plain.value.buffer.byteLength).toBe(3);
  });

  const refused: readonly (readonly [unknown, string, RegExp])[] = [
    [new Map(), "", /Map/],
    [{ a: [{ b: new Set() }] }, "a[0].b", /Set/],
    [{ run: () => 1 }, "run", /function/],
    [{ big: 1n }, "big", /bigint/],
    [{ symbol: Symbol("x") }, "symbol", /symbol/],
    [new (class Price { cents = 1; })(), "", /instance/],
  ];
  for (const [value, path, found] of refused) {
    test(`${found.source} at "${path}" is refused, naming the place`, () => {
      expect(toPlain(value, LIMIT)).toEqual({ kind: "not-plain", path, found: expect.stringMatching(found) });
    });
  }

  test("a cycle ends in a refusal", () => {
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    expect(toPlain(cycle, LIMIT)).toMatchObject({ kind: "not-plain", found: expect.stringContaining("cycle") });
  });

  test("size is limited, and counting stops there", () => {
    expect(toPlain("x".repeat(100), 50)).toMatchObject({ kind: "too-large", limit: 50 });
    const refusal = toPlain(new Array(1_000_000).fill("x"), 100);
    expect(refusal.kind === "too-large" && refusal.actual).toBeLessThan(200);
  });

  test("a property named __proto__, which not every wire keeps, is refused", () => {
    const hostile: unknown = JSON.parse('{"a": {"__proto__": {"isAdmin": true}}}');
    expect(toPlain(hostile, LIMIT)).toMatchObject({ kind: "not-plain", path: "a" });
  });

  test("a refusal becomes an error that names what was not done", () => {
    const error = plainRefusalError("did not call a.b", { kind: "not-plain", path: "x", found: "a Map" });
    expect(error.message).toBe("did not call a.b: its input at x is a Map; send plain data");
  });
});

/** JSON cannot say -0, and a decoder may give an object another prototype. */
function normalize(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null));
}
