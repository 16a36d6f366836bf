import fc from "fast-check";
import { expect, test } from "vitest";
import { encode } from "../../src/base/codec.ts";
import {
  decodeSnapshotMessage,
  encodeSnapshotMessage,
  type SnapshotMessage,
} from "../../src/consensus/core/snapshot-message.ts";

const count = fc.nat();
const transfer = fc.string({ maxLength: 20 });
const message: fc.Arbitrary<SnapshotMessage> = fc.oneof(
  fc.record({ kind: fc.constant("request" as const), transfer, from: count }),
  fc.record({ kind: fc.constant("accepted" as const), transfer, appliedSlots: count, bytesEstimated: count }),
  fc.record({ kind: fc.constant("wait" as const), transfer }),
  fc.record({
    kind: fc.constant("chunk" as const),
    transfer,
    index: count,
    isLast: fc.boolean(),
    bytes: fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  }),
  fc.record({ kind: fc.constant("ack" as const), transfer, below: count }),
  fc.record({ kind: fc.constant("end" as const), transfer, reason: fc.string({ maxLength: 20 }) }),
);

test("a message of a snapshot transfer is read as it was written", () => {
  fc.assert(
    fc.property(message, (sent) => {
      expect(decodeSnapshotMessage(encodeSnapshotMessage(sent))).toEqual(sent);
    }),
  );
});

test("bytes that are no message give undefined, whatever they are", () => {
  const kinds = fc.constantFrom("request", "accepted", "wait", "chunk", "ack", "end", "__proto__", 7);
  const shaped = fc.tuple(fc.constantFrom(0, 1, 2), kinds, fc.anything(), fc.anything(), fc.anything(), fc.anything());
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), shaped.map(encodeAnything)), (bytes) => {
      const read = decodeSnapshotMessage(bytes);
      if (read !== undefined) expect(decodeSnapshotMessage(encodeSnapshotMessage(read))).toEqual(read);
    }),
  );
  expect(decodeSnapshotMessage(encode([2, "wait", "t"]))).toBeUndefined();
  expect(decodeSnapshotMessage(encode([1, "ack", "t", -1]))).toBeUndefined();
  expect(decodeSnapshotMessage(encode([1, "chunk", "t", 1, true, "text"]))).toBeUndefined();
});

function encodeAnything(value: unknown): Uint8Array {
  try {
    return encode(value);
  } catch {
    // ignored: what has no encoding is no input
    return new Uint8Array(0);
  }
}
