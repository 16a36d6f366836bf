import * as fc from "fast-check";
import { expect, test } from "vitest";
import { present } from "../../../../src/base/assert.ts";
import {
  checkSegmentHead,
  decodeLogRecord,
  encodeLogRecord,
  encodeSegmentHead,
  scanSegment,
  SECTOR_BYTES,
} from "../../../../src/storage/core/segment-format.ts";

const SEGMENT_SECTORS = 24;
const CORRUPT = expect.objectContaining({ code: "E_DATA_CORRUPT" }) as Error;

/** Payloads with long runs of zeros, which look like what was never written. */
const payloads = fc.array(
  fc.record({ size: fc.integer({ min: 1, max: 1_400 }), fill: fc.constantFrom(0, 0, 7, 255), last: fc.nat(255) }),
  { minLength: 1, maxLength: 4 },
).map((list) => list.map(({ size, fill, last }) => {
  const payload = Buffer.alloc(size, fill);
  payload[size - 1] = last;
  return payload;
}));

interface Segment {
  readonly bytes: Buffer;
  /** Where each record begins, and the end of the last. */
  readonly bounds: readonly number[];
}

function segmentOf(list: readonly Buffer[]): Segment {
  const parts = [encodeSegmentHead(1)];
  const bounds = [SECTOR_BYTES];
  for (const [at, payload] of list.entries()) {
    const record = encodeLogRecord(at + 1, payload);
    parts.push(record);
    bounds.push((bounds.at(-1) ?? 0) + record.byteLength);
  }
  const used = Buffer.concat(parts);
  return { bytes: Buffer.concat([used, Buffer.alloc(SEGMENT_SECTORS * SECTOR_BYTES - used.byteLength)]), bounds };
}

function scan(bytes: Buffer): ReturnType<typeof scanSegment> {
  checkSegmentHead(bytes, 1, "the segment");
  return scanSegment(bytes, 1, "the segment");
}

/** Padding and sectors that are all zero are no loss: then the record is complete. */
function isSameRecord(bytes: Buffer, segment: Segment, number: number): boolean {
  const [from] = lastOf(segment);
  const written = decodeLogRecord(segment.bytes.subarray(from), number, "the segment");
  const size = 28 + written.byteLength;
  return bytes.subarray(from, from + size).equals(segment.bytes.subarray(from, from + size));
}

/** Where the last record begins and ends. */
function lastOf({ bounds }: Segment): readonly [from: number, to: number] {
  return [present(bounds.at(-2), "a record"), present(bounds.at(-1), "its end")];
}

test("records come back as they were written", () => {
  fc.assert(fc.property(payloads, (list) => {
    const { bytes } = segmentOf(list);
    const { records, isTorn } = scan(bytes);
    expect(isTorn).toBe(false);
    expect(records.map(({ number }) => number)).toEqual(list.map((_, at) => at + 1));
    for (const { number, sector } of records) {
      const payload = decodeLogRecord(bytes.subarray(sector * SECTOR_BYTES), number, "the segment");
      expect(list[number - 1]?.equals(payload)).toBe(true);
    }
  }));
});

test("a last record that ends early, at any byte, is torn, and the ones before it stay", () => {
  fc.assert(fc.property(payloads, (list) => {
    const segment = segmentOf(list);
    const [from, to] = lastOf(segment);
    for (let cut = from + 1; cut < to; cut++) {
      const bytes = Buffer.from(segment.bytes).fill(0, cut, to);
      if (isSameRecord(bytes, segment, list.length)) continue;
      expect(scan(bytes)).toMatchObject({ isTorn: true, end: from / SECTOR_BYTES });
      expect(scan(bytes).records).toHaveLength(list.length - 1);
    }
    expect(scan(Buffer.from(segment.bytes).fill(0, from)).isTorn).toBe(false);
  }), { numRuns: 30 });
});

test("a last record that misses any of its sectors is torn, whatever zeros it has of its own", () => {
  fc.assert(fc.property(payloads, fc.integer({ min: 1, max: 7 }), (list, missing) => {
    const segment = segmentOf(list);
    const [from, to] = lastOf(segment);
    const bytes = Buffer.from(segment.bytes);
    for (let at = from, bit = 1; at < to; at += SECTOR_BYTES, bit *= 2) {
      if ((missing & bit) !== 0) bytes.fill(0, at, at + SECTOR_BYTES);
    }
    const { records, isTorn } = scan(bytes);
    if (isSameRecord(bytes, segment, list.length)) expect(records).toHaveLength(list.length);
    else {
      expect(records).toHaveLength(list.length - 1);
      expect(isTorn).toBe(!bytes.subarray(from).every((byte) => byte === 0));
    }
  }), { numRuns: 300 });
});

test("no flipped bit in the head or in a record is taken for a torn end, or for another record", () => {
  fc.assert(fc.property(payloads, fc.nat(), fc.nat(7), (list, place, bit) => {
    const segment = segmentOf(list);
    const [, end] = lastOf(segment);
    const bytes = Buffer.from(segment.bytes);
    const at = place % end;
    bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
    try {
      // Bytes that mean nothing may change: the padding of a sector.
      const { records, isTorn } = scan(bytes);
      expect({ count: records.length, isTorn }).toEqual({ count: list.length, isTorn: false });
      for (const { number, sector } of records) {
        const payload = decodeLogRecord(bytes.subarray(sector * SECTOR_BYTES), number, "the segment");
        expect(list[number - 1]?.equals(payload)).toBe(true);
      }
    } catch (error) {
      expect(error).toEqual(CORRUPT);
    }
  }), { numRuns: 2_000 });
});

test("damage before the last record is never taken for a torn end", () => {
  fc.assert(fc.property(payloads.filter((list) => list.length > 1), fc.nat(), fc.nat(), (list, place, size) => {
    const segment = segmentOf(list);
    const [last] = lastOf(segment);
    const from = SECTOR_BYTES + (place % (last - SECTOR_BYTES));
    const bytes = Buffer.from(segment.bytes).fill(0, from, Math.min(last, from + 1 + (size % 2_000)));
    if (bytes.equals(segment.bytes)) return;
    try {
      expect(scan(bytes).records).toHaveLength(list.length);
    } catch (error) {
      expect(error).toEqual(CORRUPT);
    }
  }), { numRuns: 500 });
});

test("records in another order, or of another number, are refused", () => {
  const one = encodeLogRecord(1, Buffer.from("one"));
  const two = encodeLogRecord(2, Buffer.from("two"));
  const three = encodeLogRecord(3, Buffer.from("three"));
  const rest = Buffer.alloc(8 * SECTOR_BYTES);
  for (const order of [[one, three], [two, one], [one, one], [one, two, two]]) {
    expect(() => scan(Buffer.concat([encodeSegmentHead(1), ...order, rest]))).toThrow(CORRUPT);
  }
  expect(scanSegment(Buffer.concat([encodeSegmentHead(1), two, three]), undefined, "any").records).toHaveLength(2);
});

test("the head tells another file and a newer format", () => {
  expect(() => checkSegmentHead(encodeSegmentHead(2), 1, "the segment")).toThrow(CORRUPT);
  expect(() => checkSegmentHead(Buffer.alloc(100), 1, "the segment")).toThrow(CORRUPT);
});
