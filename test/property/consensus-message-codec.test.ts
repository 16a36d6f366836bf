import * as fc from "fast-check";
import { expect, test } from "vitest";
import { encode } from "../../src/base/codec.ts";
import { decodeMessages, encodeMessages, MESSAGE_FORMAT } from "../../src/consensus/core/message-codec.ts";
import { messages, plain } from "./consensus-values.ts";

test("every list of messages comes back as it left", () => {
  fc.assert(fc.property(fc.array(messages, { maxLength: 6 }), (list) => {
    expect(plain(decodeMessages(encodeMessages(list)))).toEqual(plain(list));
  }), { numRuns: 500 });
});

test("bytes that are no payload are refused, never thrown at the caller", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
    const decoded = decodeMessages(bytes);
    expect(decoded === undefined || Array.isArray(decoded)).toBe(true);
  }), { numRuns: 2_000 });
});

test("a payload with any byte changed decodes to messages or to nothing, never to a throw", () => {
  const lists = fc.array(messages, { minLength: 1, maxLength: 3 });
  const changes = fc.record({ list: lists, at: fc.nat(), bits: fc.integer({ min: 1, max: 255 }) });
  fc.assert(fc.property(changes, ({ list, at, bits }) => {
    const bytes = Buffer.from(encodeMessages(list));
    const index = at % bytes.length;
    bytes[index] = (bytes[index] ?? 0) ^ bits;
    const decoded = decodeMessages(bytes);
    expect(decoded === undefined || Array.isArray(decoded)).toBe(true);
  }), { numRuns: 2_000 });
});

test("plain data of any shape in place of messages is refused", () => {
  const junk = fc.jsonValue({ maxDepth: 3 });
  fc.assert(fc.property(fc.array(junk, { minLength: 1, maxLength: 4 }), (items) => {
    expect(decodeMessages(encode([MESSAGE_FORMAT, ...items]))).toBeUndefined();
  }), { numRuns: 1_000, examples: [[[[]]], [[[2, -1, []]]], [[[3, 0, 0, 1.5, 0]]], [[[99]]]] });
});

test("a payload of another format version is refused", () => {
  expect(decodeMessages(encode([MESSAGE_FORMAT + 1, [11, 1]]))).toBeUndefined();
  expect(decodeMessages(encode({ version: MESSAGE_FORMAT }))).toBeUndefined();
});
