import fc from "fast-check";
import { expect, test } from "vitest";
import { KiB, MiB } from "../../../src/base/units.ts";
import { BodyBuffer } from "../../../src/api/body-buffer.ts";

const pieces = fc.array(fc.uint8Array({ maxLength: 64 * KiB, size: "max" }), { maxLength: 80 });

test("what was added comes out, whatever was announced and however it was cut", () => {
  fc.assert(fc.property(pieces, fc.constantFrom("nothing", "the truth", "more", "nonsense"), (added, announces) => {
    const sent = Buffer.concat(added);
    const announced = { nothing: 0, "the truth": sent.byteLength, more: 2 * MiB, nonsense: NaN }[announces];
    const body = new BodyBuffer(announced);
    for (const piece of added) body.add(Buffer.from(piece));
    expect(body.byteLength).toBe(sent.byteLength);
    expect(body.take().equals(sent)).toBe(true);
  }), { numRuns: 100 });
});

test("announcing much takes no memory before some of it is here", () => {
  const before = process.memoryUsage().arrayBuffers;
  const announcing = Array.from({ length: 64 }, () => new BodyBuffer(64 * MiB));
  for (const body of announcing) body.add(Buffer.alloc(KiB));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * MiB);
  expect(announcing.every((body) => body.take().byteLength === KiB)).toBe(true);
});
