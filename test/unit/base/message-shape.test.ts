import fc from "fast-check";
import { expect, test } from "vitest";
import { decode, encode } from "../../../src/base/codec.ts";
import { AetherError } from "../../../src/base/errors.ts";
import { checkShape } from "../../../src/base/message-shape.ts";

const plain = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(null, undefined, true, false),
    fc.double(),
    fc.maxSafeInteger(),
    fc.string({ unit: "binary", maxLength: 70_000 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value")),
    fc.dictionary(fc.string(), tie("value")),
  ),
})).value;

test("whatever the codec writes of plain data passes", () => {
  fc.assert(fc.property(plain, (value) => checkShape(encode(value))), { numRuns: 300 });
});

test("bytes of strangers are refused or can be decoded, and nothing else happens", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        checkShape(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(AetherError);
        return;
      }
      // Invalid UTF-8 and repeated keys are the decoder's own matter; it must end all the same.
      decode(bytes, 40);
    }),
    { numRuns: 2_000 },
  );
});

// Mostly heads of containers and short values, so that whole values are common.
const heads = [0x00, 0xc0, 0xc3, 0x80, 0x81, 0x82, 0x90, 0x91, 0x92, 0xa0, 0xa1, 0xc4, 0xd9, 0xde];
const shapely = fc.array(fc.constantFrom(...heads), { maxLength: 12 });

test("a whole value that passes can be decoded", () => {
  fc.assert(
    fc.property(shapely, (bytes) => {
      try {
        checkShape(Uint8Array.from(bytes));
      } catch {
        return;
      }
      decode(Uint8Array.from(bytes), 40);
    }),
    { numRuns: 20_000 },
  );
});

test("a truncated value is refused at every length", () => {
  const bytes = encode({ a: [1, "text", new Uint8Array(40), 1.5, -7, 70_000], b: { c: null } });
  for (let length = 0; length < bytes.length; length++) expect(() => checkShape(bytes.subarray(0, length))).toThrow();
  expect(() => checkShape(Buffer.concat([bytes, Buffer.of(0)]))).toThrow();
});

test.each([
  ["an array that claims four billion elements", [0xdd, 0xff, 0xff, 0xff, 0xff]],
  ["nested arrays that claim thirty million each", [0xdd, 1, 0xff, 0xff, 0xff, 0xdd, 1, 0xff, 0xff, 0xff]],
  ["a map that claims too much", [0xdf, 0x7f, 0xff, 0xff, 0xff, 0xc0]],
  ["a map with an array as a key", [0x81, 0x91, 0x01, 0x02]],
  ["a map with a map as a key, behind a good one", [0x82, 0xa1, 0x61, 0x01, 0x80, 0x02]],
  ["a map with a number as a key, inside an array", [0x92, 0x01, 0x81, 0x01, 0x02]],
  ["an extension", [0xd5, 0x01, 0x00, 0x00]],
  ["a timestamp", [...encode(new Date(0))]],
  ["the unused head", [0xc1]],
  ["nothing", []],
])("%s is refused", (_what, bytes) => {
  expect(() => checkShape(Uint8Array.from(bytes))).toThrow(AetherError);
});

test("depth is bounded", () => {
  const nested = (levels: number): Uint8Array => Uint8Array.from([...Array<number>(levels).fill(0x91), 0xc0]);
  expect(() => checkShape(nested(80))).not.toThrow();
  expect(() => checkShape(nested(81))).toThrow(AetherError);
});
