import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeFrame, encodeFrame, type FrameMessage } from "../../src/net/core/frame.ts";
import { decodeHandshake } from "../../src/net/core/handshake-codec.ts";

const VERSION = 1;
const message = fc.record({ channel: fc.integer({ min: 0, max: 255 }), payload: fc.uint8Array({ maxLength: 300 }) });
const messages = fc.array(message, { minLength: 1, maxLength: 20 });

function plain(list: readonly FrameMessage[]): unknown {
  return list.map(({ channel, payload }) => [channel, [...payload]]);
}

test("what is encoded in a frame is decoded from it, in order", () => {
  fc.assert(
    fc.property(messages, (list) => {
      const decoded = decodeFrame(VERSION, encodeFrame(VERSION, list));
      expect(decoded.kind === "messages" && plain(decoded.messages)).toEqual(plain(list));
    }),
  );
});

test("a frame cut at any byte gives a prefix of its messages or a refusal, never a wrong message", () => {
  fc.assert(
    fc.property(messages, (list) => {
      const frame = encodeFrame(VERSION, list);
      for (let length = 0; length < frame.byteLength; length += 1) {
        const decoded = decodeFrame(VERSION, frame.subarray(0, length));
        if (decoded.kind === "refused") continue;
        expect(plain(decoded.messages)).toEqual(plain(list.slice(0, decoded.messages.length)));
      }
    }),
    { numRuns: 20 },
  );
});

test("any bytes are decoded without a throw, and what is accepted is the whole of them", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, hasVersion) => {
      if (hasVersion && bytes.length > 0) bytes[0] = VERSION;
      const decoded = decodeFrame(VERSION, bytes);
      if (decoded.kind === "messages") expect([...encodeFrame(VERSION, decoded.messages)]).toEqual([...bytes]);
    }),
    { numRuns: 2_000 },
  );
});

test("any bytes are read as a handshake without a throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, hasMagic) => {
      const frame = hasMagic ? Uint8Array.of(0x41, 0x45, 0x54, 0x48, 1, ...bytes) : bytes;
      expect(decodeHandshake(frame).kind).toBe("malformed");
    }),
    { numRuns: 2_000 },
  );
});
