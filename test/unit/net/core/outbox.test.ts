import { describe, expect, test } from "vitest";
import { MiB } from "../../../../src/base/units.ts";
import { FRAME_MESSAGES_MAX } from "../../../../src/net/core/frame.ts";
import { FRAME_BYTES_TARGET, Outbox } from "../../../../src/net/core/outbox.ts";

const URGENT = 1;
const BULK = 4;

function createOutbox(): Outbox {
  return new Outbox([
    { channel: BULK, queueBytesMax: 16 * MiB, heldAboveBytes: 1_000 },
    { channel: URGENT, queueBytesMax: 1_000, heldAboveBytes: 5_000 },
  ]);
}

const bytes = (length: number): Uint8Array => new Uint8Array(length);

describe("an outbox", () => {
  test("gives all that waits as one frame, lower channels first, each in order", () => {
    const outbox = createOutbox();
    outbox.push(BULK, bytes(1));
    outbox.push(URGENT, bytes(2));
    outbox.push(BULK, bytes(3));
    outbox.push(URGENT, bytes(4));
    const taken = outbox.take(0).map(({ channel, payload }) => [channel, payload.byteLength]);
    expect(taken).toEqual([[URGENT, 2], [URGENT, 4], [BULK, 1], [BULK, 3]]);
    expect(outbox.isEmpty).toBe(true);
    expect(outbox.take(0)).toEqual([]);
  });

  test("hands out the very payload it was given: one encoding serves all peers", () => {
    const outbox = createOutbox();
    const payload = bytes(9);
    outbox.push(URGENT, payload);
    expect(outbox.take(0)[0]?.payload).toBe(payload);
  });

  test("refuses a message above its channel's bound, and takes more once some has left", () => {
    const outbox = createOutbox();
    expect(outbox.push(URGENT, bytes(900))).toBe(true);
    expect(outbox.push(URGENT, bytes(200))).toBe(false);
    expect(outbox.push(BULK, bytes(200))).toBe(true);
    outbox.take(0);
    expect(outbox.push(URGENT, bytes(200))).toBe(true);
  });

  test("splits what is too much for one frame, and sends a message above the target alone", () => {
    const outbox = createOutbox();
    for (const length of [MiB, MiB, FRAME_BYTES_TARGET + 1, 10]) outbox.push(BULK, bytes(length));
    const frames = [outbox.take(0), outbox.take(0), outbox.take(0), outbox.take(0), outbox.take(0)];
    expect(frames.map((frame) => frame.map(({ payload }) => payload.byteLength))).toEqual([
      [MiB], [MiB], [FRAME_BYTES_TARGET + 1], [10], [],
    ]);
  });

  test("never puts more messages into a frame than its reader accepts", () => {
    const outbox = createOutbox();
    for (let i = 0; i < FRAME_MESSAGES_MAX + 7; i += 1) outbox.push(BULK, bytes(0));
    expect([outbox.take(0).length, outbox.take(0).length, outbox.take(0).length]).toEqual([FRAME_MESSAGES_MAX, 7, 0]);
  });

  test("holds each channel back while the socket is behind by more than that channel may add to", () => {
    const outbox = createOutbox();
    outbox.push(BULK, bytes(1));
    outbox.push(URGENT, bytes(2));
    expect(outbox.take(5_001)).toEqual([]);
    expect(outbox.take(1_001).map(({ channel }) => channel)).toEqual([URGENT]);
    expect(outbox.isEmpty).toBe(false);
    expect(outbox.take(1_000).map(({ channel }) => channel)).toEqual([BULK]);
  });
});
