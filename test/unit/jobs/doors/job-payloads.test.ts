import { afterEach, beforeEach, expect, test } from "vitest";
import { encode } from "../../../../src/base/codec.ts";
import { sha256 } from "../../../../src/base/digest.ts";
import { KiB } from "../../../../src/base/units.ts";
import { chunkOf, type BlobRef } from "../../../../src/jobs/core/payloads/blob.ts";
import { JobPayloads, PAYLOAD_READ_MS_MAX } from "../../../../src/jobs/doors/job-payloads.ts";
import { PayloadRoom } from "../../../../src/jobs/payloads/payload-room.ts";
import { PayloadStore } from "../../../../src/jobs/payloads/payload-store.ts";
import { SILENT_TELEMETRY } from "../../../support/cluster-world.ts";
import { createLocalKv, type LocalKv } from "../../../support/local-kv.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

const TEXT = "a".repeat(300 * KiB);
/** For one payload. */
const ROOM_BYTES = 512 * KiB;

let clock: ManualClock;
let local: LocalKv;
let payloads: JobPayloads;
let blob: BlobRef;

beforeEach(async () => {
  clock = new ManualClock();
  local = await createLocalKv();
  const store = new PayloadStore({ clock, telemetry: SILENT_TELEMETRY }, local.kv);
  const bytes = encode(TEXT);
  blob = { digest: sha256(bytes), bytes: bytes.byteLength };
  await store.put(blob, (part) => Promise.resolve(chunkOf(bytes, part)), new AbortController().signal);
  payloads = new JobPayloads({ clock }, {
    store, room: new PayloadRoom(ROOM_BYTES), usage: () => ({ liveBytes: 0, quotaBytes: ROOM_BYTES }),
  });
});
afterEach(async () => await local.close());

async function open(): Promise<AsyncIterator<string>> {
  const opened = payloads.payloadText(blob);
  await clock.advance(0);
  return (await opened)[Symbol.asyncIterator]();
}

async function next(reading: AsyncIterator<string>): Promise<IteratorResult<string>> {
  const piece = reading.next();
  // ignored: it is awaited below.
  piece.catch(() => undefined);
  await clock.advance(0);
  return await piece;
}

async function readAll(reading: AsyncIterator<string>): Promise<string> {
  let text = "";
  for (;;) {
    const { done, value } = await next(reading);
    if (done === true) return text;
    text += value;
  }
}

test("a payload is read whole, and there is nothing after its end", async () => {
  const reading = await open();
  expect(await readAll(reading)).toBe(JSON.stringify(TEXT));
  expect((await next(reading)).done).toBe(true);
});

test("a reader that gives up before its first piece makes room for the next one", async () => {
  const gone = await open();
  await gone.return?.();
  expect(await readAll(await open())).toBe(JSON.stringify(TEXT));
});

test("a reader that does not read on makes room for others, and is told so", async () => {
  const slow = await open();
  await next(slow);
  const waiting = payloads.payloadText(blob);
  await clock.advance(PAYLOAD_READ_MS_MAX);
  expect(await readAll((await waiting)[Symbol.asyncIterator]())).toBe(JSON.stringify(TEXT));
  await expect(next(slow)).rejects.toMatchObject({ code: "E_TIMEOUT" });
});
