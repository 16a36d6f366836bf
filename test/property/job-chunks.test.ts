// A log is the same with chunks as without, whatever its pages are and whatever became of the chunks.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { decideAppend, decideClaim } from "../../src/jobs/core/life/decide.ts";
import { CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, chunkOf, lastOf, leadingChunks } from "../../src/jobs/core/log/chunk.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { PAGE_EVENTS_MAX, type PlacedPage } from "../../src/jobs/core/log/page.ts";
import { pageValue, parseJobPage } from "../../src/jobs/core/rows.ts";
import type { LoadedJob } from "../../src/jobs/ports.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import type { KvEntry, Op } from "../../src/kvstore/core/schema.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { VALUE_BYTES_MAX } from "../../src/kvstore/core/limits.ts";
import { encodeValue } from "../../src/kvstore/core/value.ts";
import { jobStore, life, putPin, REF, startJob, stepDone, transitionOf, viewOf } from "../support/job-log.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";

const clock = createRealClock();
const CHUNKS = prefixOf({ kind: "job-chunks", ...REF, run: 1 });

/** Sizes of pages, in events; and bytes of each event. */
const logs = fc.array(
  fc.record({ events: fc.integer({ min: 1, max: PAGE_EVENTS_MAX }), bytes: fc.constantFrom(10, 100, 6_000) }),
  { minLength: 1, maxLength: 40 },
);

function pagesOf(sizes: readonly { readonly events: number; readonly bytes: number }[]): readonly PlacedPage[] {
  let seq = 1;
  return sizes.map(({ events, bytes }) => {
    const page = { prev: new Uint8Array(32), events: Array.from({ length: events }, () => new Uint8Array(bytes)) };
    const placed = { run: 1, seq, page };
    seq += events;
    return placed;
  });
}

test("chunks are of whole pages, follow each other, and fit into a row", () => {
  fc.assert(fc.property(logs, (sizes) => {
    const pages = pagesOf(sizes);
    const chunks: PlacedPage[] = [];
    for (let after = 0; after < lastOf(pages); after = lastOf(chunks)) {
      chunks.push(present(chunkOf(pages.filter(({ seq }) => seq > after)), "pages make a chunk"));
    }
    expect(leadingChunks(chunks).length).toBe(chunks.length);
    const wanted = pages.flatMap(({ page }) => page.events);
    const found = chunks.flatMap(({ page }) => page.events);
    expect(found.length === wanted.length && found.every((event, at) => event === wanted[at])).toBe(true);
    for (const { seq, page } of chunks) {
      expect(pages.some((one) => one.seq === seq)).toBe(true);
      const bytes = page.events.reduce((sum, event) => sum + event.byteLength, 0);
      expect(page.events.length).toBeLessThanOrEqual(CHUNK_EVENTS_MAX);
      expect(bytes <= CHUNK_BYTES_MAX || pages.some((one) => one.page.events.length === page.events.length)).toBe(true);
      expect(encodeValue(pageValue(page) as never).byteLength).toBeLessThanOrEqual(VALUE_BYTES_MAX);
    }
  }), { numRuns: 50 });
});

test("chunks that do not follow each other are left out", () => {
  const [first, second, third] = pagesOf([{ events: 3, bytes: 1 }, { events: 2, bytes: 1 }, { events: 4, bytes: 1 }]);
  if (first === undefined || second === undefined || third === undefined) throw new RangeError("there are three");
  expect(leadingChunks([first, third])).toEqual([first]);
  expect(leadingChunks([second, third])).toEqual([]);
  // One of another cut.
  expect(leadingChunks([first, { ...second, seq: 3 }, second, third])).toEqual([first, second, third]);
});

/** A job of some 2,500 events, its chunks as its owner writes them. */
async function longJob(local: LocalKv): Promise<LoadedJob> {
  const { kv } = local;
  await putPin(kv);
  const store = jobStore(clock, kv);
  const started = await startJob(kv);
  let view = viewOf(await store.commit(transitionOf(decideClaim(started, { life: life("a"), atMs: 2_000 }))));
  let chunkedTo = 0;
  for (let at = 0; view.head.seq < 2_500; at++) {
    const count = 1 + (at * 7) % (PAGE_EVENTS_MAX - 1);
    const events = Array.from({ length: count }, (_, nth): JobEvent => stepDone(`s${at}-${nth}`, nth));
    view = viewOf(await store.commit(transitionOf(decideAppend(view, { events, atMs: 3_000 }))));
    const isDue = view.head.seq - chunkedTo >= CHUNK_EVENTS_MAX;
    if (isDue) chunkedTo = present(await store.chunk(view, chunkedTo), "its owner writes a chunk");
  }
  return await store.load(REF);
}

test("a log gives the same events with its chunks, without them, and with damaged ones", async () => {
  const local = await createLocalKv();
  const store = jobStore(clock, local.kv);
  const { log, chunkedTo } = await longJob(local);
  const whole = Buffer.concat(log);
  const chunks = (await local.kv.list({ prefix: CHUNKS })).entries;
  expect(chunks).toHaveLength(2);
  expect(chunkedTo).toBeGreaterThan(1_900);
  const harm = fc.constantFrom<(entry: KvEntry, at: number) => Op>(
    ({ key }) => ({ kind: "delete", key }),
    ({ key }) => ({ kind: "put", key, value: { no: "chunk" } }),
    ({ key, value }, at) => ({ kind: "put", key, value: changed(value, at) }),
    ({ key, value }, at) => ({ kind: "put", key, value: cut(value, at) }),
  );
  await fc.assert(fc.asyncProperty(harm, fc.nat(1), fc.nat(10_000), async (does, which, at) => {
    const entry = present(chunks[which], "there is such a chunk");
    await local.kv.transact({ compare: [], then: [does(entry, at)], else: [] });
    expect(Buffer.concat((await store.load(REF)).log).equals(whole)).toBe(true);
    await local.kv.transact({ compare: [], then: [{ kind: "put", key: entry.key, value: entry.value }], else: [] });
  }), { numRuns: 40 });
  expect((await store.load(REF)).chunkedTo).toBe(chunkedTo);
  await local.close();
});

test("only the owner writes a chunk, and no other than its log has", async () => {
  const local = await createLocalKv();
  const { view } = await longJob(local);
  const store = jobStore(clock, local.kv);
  const [before] = (await local.kv.list({ prefix: CHUNKS })).entries;
  expect(await store.chunk({ ...view, rowRevision: 1 }, 0)).toBeUndefined();
  // In the middle of a page.
  expect(await store.chunk(view, 5)).toBeUndefined();
  await store.chunk(view, 0);
  expect((await local.kv.list({ prefix: CHUNKS })).entries[0]?.value).toEqual(before?.value);
  await local.close();
});

/** One byte of one event is another. */
function changed(value: unknown, at: number): never {
  const page = parseJobPage(value);
  const nth = at % page.events.length;
  const events = page.events.map((event, index) => {
    if (index !== nth) return event;
    const bytes = Uint8Array.from(event);
    bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ 1;
    return bytes;
  });
  return pageValue({ ...page, events }) as never;
}

/** Some events at its end are missing. */
function cut(value: unknown, at: number): never {
  const page = parseJobPage(value);
  return pageValue({ ...page, events: page.events.slice(0, 1 + at % (page.events.length - 1)) }) as never;
}
