// Payloads of any content and size: as JSON, and in chunks over a store and back.
import fc from "fast-check";
import { expect, test } from "vitest";
import { decode, encode } from "../../src/base/codec.ts";
import { sha256 } from "../../src/base/digest.ts";
import { jsonText } from "../../src/base/json-text.ts";
import { KiB } from "../../src/base/units.ts";
import { PAYLOAD_CHUNK_BYTES, chunkOf, type BlobRef } from "../../src/jobs/core/payloads/blob.ts";
import { jsonPieces } from "../../src/jobs/core/payloads/json-pieces.ts";
import { PayloadStore } from "../../src/jobs/payloads/payload-store.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { createLocalKv } from "../support/local-kv.ts";

const plain = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ unit: "binary" }), fc.integer(), fc.maxSafeInteger(), fc.double(), fc.boolean(), fc.constant(null),
    fc.constant(undefined), fc.uint8Array(), fc.array(tie("value")),
    fc.dictionary(fc.string().filter((name) => name !== "__proto__"), tie("value").filter((one) => one !== undefined)),
  ),
})).value;

test("what is said of a payload as JSON is what it says", () => {
  fc.assert(fc.property(plain, (value) => {
    const bytes = encode(value);
    expect([...jsonPieces(bytes)].join("")).toBe(jsonText(decode(bytes, bytes.byteLength)));
  }), { numRuns: 500 });
});

test("so it is for texts, bytes and lists that are longer than a piece", () => {
  const smile = "a😀ü";
  for (const value of [smile.repeat(70 * KiB), Buffer.alloc(200 * KiB, 7), Array(70_000).fill(smile), { smile }]) {
    const pieces = [...jsonPieces(encode(value))];
    expect(pieces.join("") === jsonText(value)).toBe(true);
    expect(pieces.every((piece) => piece.length < 512 * KiB)).toBe(true);
  }
});

test("a payload of any size comes back from the store as it was", async () => {
  const local = await createLocalKv();
  const store = new PayloadStore({ clock: createRealClock(), telemetry: SILENT_TELEMETRY }, local.kv);
  const sizes = fc.oneof(
    fc.integer({ min: 1, max: 6 * PAYLOAD_CHUNK_BYTES }),
    fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: -1, max: 1 }))
      .map(([chunks, more]) => chunks * PAYLOAD_CHUNK_BYTES + more),
  );
  await fc.assert(fc.asyncProperty(sizes, fc.nat(255), async (size, fill) => {
    const bytes = Buffer.alloc(size, fill);
    const blob: BlobRef = { digest: sha256(bytes), bytes: size };
    await store.put(blob, async (part) => chunkOf(bytes, part), AbortSignal.timeout(30_000));
    expect(bytes.equals(await store.read(blob))).toBe(true);
  }), { numRuns: 30 });
  await local.close();
});
