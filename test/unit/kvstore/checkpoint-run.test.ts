import { expect, test } from "vitest";
import { KiB, MiB } from "../../../src/base/units.ts";
import { CheckpointRun, type CheckpointEnd } from "../../../src/kvstore/checkpoint-run.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import { encodeEntry } from "../../../src/kvstore/core/stored-entry.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const LARGE_BYTES = 256 * KiB;

test.each([
  ["few large rows", 40, LARGE_BYTES],
  ["many small rows", 2_000, 10],
])("a checkpoint of %s is handed over piece by piece, and is whole", async (_name, count, bytes) => {
  const clock = new ManualClock();
  const store = await createMemoryStorePort(clock).open("state");
  /** Bytes of each piece. */
  const pieces = [0];
  const ends: CheckpointEnd[] = [];
  const run = new CheckpointRun({
    clock: {
      ...clock,
      setTimer: (delayMs, fire) => clock.setTimer(delayMs, () => {
        pieces.push(0);
        fire();
      }),
    } as ManualClock,
    store: {
      begin: () => {
        const batch = store.begin();
        const put = (key: Uint8Array, value: Uint8Array): void => {
          pieces.push((pieces.pop() ?? 0) + key.byteLength + value.byteLength);
          batch.put(key, value);
        };
        return { put, delete: (key) => batch.delete(key), write: (done) => batch.write(done) };
      },
    },
    rows: Array.from({ length: count }, (_, index) => {
      const key = parseKeyText(`data/k${String(index).padStart(5, "0")}`);
      const fields = { modRevision: 1, createRevision: 1, version: 1 };
      return [key, encodeEntry(key, { value: new Uint8Array(bytes), ...fields })] as const;
    }),
    record: new Uint8Array(100),
    gate: (decide) => decide("write"),
    onEnd: (end) => void ends.push(end),
  });
  run.start();
  await clock.advance(1_000);
  expect(ends).toEqual([{ kind: "written" }]);
  expect(pieces.length).toBeGreaterThan(1);
  expect(Math.max(...pieces)).toBeLessThan(MiB + LARGE_BYTES + KiB);
  let stored = 0;
  for await (const [key] of store.entries({})) stored += key.byteLength > 0 ? 1 : 0;
  expect(stored).toBe(count + 1);
  await store.close();
});
