// Bytes as protobuf and gRPC have them, written out by hand.
import { expect, test } from "vitest";
import { decodeIsLeader, decodePutRevision, decodeRange, encodePut, encodeRange } from "./wire.ts";

function frame(...message: readonly number[]): Buffer {
  return Buffer.from([0, 0, 0, 0, message.length, ...message]);
}

test("a put is key and value behind gRPC's prefix", () => {
  expect([...encodePut("k", "vw")]).toEqual([0, 0, 0, 0, 7, 0x0a, 1, 0x6b, 0x12, 2, 0x76, 0x77]);
});

test("lengths above 127 take two bytes", () => {
  const encoded = encodePut("k", "v".repeat(300));
  expect([...encoded.subarray(5, 11)]).toEqual([0x0a, 1, 0x6b, 0x12, 0xac, 0x02]);
  expect(encoded.length).toBe(5 + 3 + 3 + 300);
});

test("a range is its key", () => {
  expect([...encodeRange("ab")]).toEqual([0, 0, 0, 0, 4, 0x0a, 2, 0x61, 0x62]);
});

test("the revision of a put is in the header, behind ids that are larger than numbers are exact", () => {
  const header = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x10, 0x05, 0x18, 0xac, 0x02];
  expect(decodePutRevision(frame(0x0a, header.length, ...header))).toBe(300n);
});

test("a range finds the first entry's value, or nothing", () => {
  const entry = [0x0a, 1, 0x6b, 0x10, 0x02, 0x18, 0x03, 0x20, 0x01, 0x2a, 2, 0x76, 0x77];
  const found = frame(0x0a, 2, 0x18, 9, 0x12, entry.length, ...entry, 0x20, 1);
  expect(decodeRange(found)).toEqual({ value: "vw", modRevision: 3n });
  expect(decodeRange(frame(0x0a, 2, 0x18, 9))).toBeUndefined();
});

test("who names itself as leader leads", () => {
  expect(decodeIsLeader(frame(0x0a, 2, 0x10, 7, 0x20, 7))).toBe(true);
  expect(decodeIsLeader(frame(0x0a, 2, 0x10, 7, 0x20, 8))).toBe(false);
  expect(decodeIsLeader(frame(0x0a, 2, 0x10, 7))).toBe(false);
});

test("what is not one whole message is refused", () => {
  expect(() => decodeRange(Buffer.from([0, 0, 0, 0, 9, 1]))).toThrow("not one plain gRPC message");
  expect(() => decodeRange(Buffer.from([1, 0, 0, 0, 0]))).toThrow("not one plain gRPC message");
});
