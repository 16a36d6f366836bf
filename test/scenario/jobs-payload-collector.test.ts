// Payloads of jobs that nobody needs any more, over the real store: what is taken away, and what is not, whoever writes
// or names them at the same moment.
import { afterEach, beforeEach, expect, test } from "vitest";
import { encode } from "../../src/base/codec.ts";
import { sha256 } from "../../src/base/digest.ts";
import { parseJobId } from "../../src/base/ids.ts";
import { KiB } from "../../src/base/units.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import {
  blobWriteKey, chunkOf, naming, unnaming, type BlobRef,
} from "../../src/jobs/core/payloads/blob.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import { PayloadStore } from "../../src/jobs/payloads/payload-store.ts";
import {
  PAYLOAD_IDLE_MS, PAYLOADS_LOOK_EVERY_MS, PayloadCollector,
} from "../../src/jobs/retention/payload-collector.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { LEADER_KEY } from "../../src/kvstore/core/key.ts";
import type { Clock } from "../../src/env/clock.ts";
import type { Compare } from "../../src/kvstore/core/schema.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { atEveryCall, interleavedKv } from "../support/interleaved-kv.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { passTime } from "../support/passing-time.ts";

const REF = refOf(parseJobId("large-1"));
const NEVER = new AbortController().signal;

interface Payload {
  readonly blob: BlobRef;
  readonly bytes: Uint8Array;
}

/** In one transaction; in several of them. */
const SMALL = payloadOf("small", 300 * KiB);
const LARGE = payloadOf("large", 1_300 * KiB);

let clock: ManualClock;
let local: LocalKv;
let collectors: PayloadCollector[];
/** By how much the leader's wall clock is ahead. */
let wallJumpMs: number;

beforeEach(openWorld);
afterEach(closeWorld);

async function openWorld(): Promise<void> {
  clock = new ManualClock();
  local = await createLocalKv();
  [collectors, wallJumpMs] = [[], 0];
}

async function closeWorld(): Promise<void> {
  for (const collector of collectors) await collector.close();
  await local.close();
}

function payloadOf(text: string, length: number): Payload {
  const bytes = encode(text.repeat(length / text.length));
  return { bytes, blob: { digest: sha256(bytes), bytes: bytes.byteLength } };
}

function pass(durationMs: number): Promise<void> {
  return passTime({ clock, kv: local.kv }, durationMs);
}

/** Two looks see it, a third one takes what is left. */
async function passLooks(): Promise<void> {
  for (let look = 0; look < 3; look++) await pass(PAYLOADS_LOOK_EVERY_MS);
}

async function passDay(): Promise<void> {
  await pass(PAYLOAD_IDLE_MS);
  await passLooks();
}

interface Leading {
  /** Undefined while this node does not lead. */
  fence: Compare | undefined;
}

function isLeading(): Leading {
  return { fence: unchanged(LEADER_KEY, 0) };
}

function openCollector(kv: Kv = local.kv, leading = isLeading()): void {
  const collector = new PayloadCollector({ clock: jumpedClock(), telemetry: SILENT_TELEMETRY }, {
    kv,
    leadership: { fence: () => leading.fence },
    metrics: createJobsMetrics(SILENT_TELEMETRY),
    onFatal: (error) => expect.unreachable(String(error)),
  });
  collectors.push(collector);
  collector.start();
}

function jumpedClock(): Clock {
  return {
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs() + wallJumpMs,
    setTimer: (delayMs, fire) => clock.setTimer(delayMs, fire),
    defer: (fire) => clock.defer(fire),
    nextTurn: (fire) => clock.nextTurn(fire),
    sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
  };
}

function store(): PayloadStore {
  return new PayloadStore({ clock, telemetry: SILENT_TELEMETRY }, local.kv);
}

async function put({ blob, bytes }: Payload): Promise<void> {
  await store().put(blob, (part) => Promise.resolve(chunkOf(bytes, part)), NEVER);
}

async function name({ blob }: Payload): Promise<boolean> {
  const { compare, then } = naming(REF, [blob], clock.wallMs());
  return (await local.kv.transact({ compare, then, else: [] })).succeeded;
}

async function unname({ blob }: Payload): Promise<void> {
  await local.kv.transact({ compare: [], then: unnaming(REF, blob.digest), else: [] });
}

async function keysLeft(): Promise<readonly string[]> {
  const { entries } = await local.kv.list({ prefix: "job-blob", limit: 1_000 });
  return entries.map(({ key }) => key);
}

async function expectWhole({ blob, bytes }: Payload): Promise<void> {
  for (let part = 0; part * 192 * KiB < blob.bytes; part++) {
    expect(Buffer.compare(await store().part(blob, part), chunkOf(bytes, part))).toBe(0);
  }
}

test("what a job needs stays, and goes a day after none needs it any more", async () => {
  for (const payload of [SMALL, LARGE]) {
    await put(payload);
    expect(await name(payload)).toBe(true);
  }
  openCollector();
  await passDay();
  for (const payload of [SMALL, LARGE]) await expectWhole(payload);
  await unname(SMALL);
  await passDay();
  await expectWhole(LARGE);
  expect((await keysLeft()).filter((key) => key.includes(SMALL.blob.digest))).toEqual([]);
  await unname(LARGE);
  await passDay();
  expect(await keysLeft()).toEqual([]);
});

test("a wall clock that jumps takes away nothing that is about to be named", async () => {
  openCollector();
  await pass(PAYLOADS_LOOK_EVERY_MS - 1_000);
  await put(SMALL);
  wallJumpMs = 2 * PAYLOAD_IDLE_MS;
  await pass(5_000);
  expect(await name(SMALL)).toBe(true);
  await passDay();
  await expectWhole(SMALL);
});

test("what was not written to its end is taken away, and whoever comes back to it begins anew", async () => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const writing = store().put(LARGE.blob, async (part) => {
    if (part === 6) await held;
    return chunkOf(LARGE.bytes, part);
  }, NEVER);
  await pass(1_000);
  expect(await keysLeft()).toContain(blobWriteKey(LARGE.blob));
  openCollector();
  await passDay();
  expect(await keysLeft()).toEqual([]);
  release();
  await writing;
  await expectWhole(LARGE);
  expect(await keysLeft()).not.toContain(blobWriteKey(LARGE.blob));
  expect(await name(LARGE)).toBe(true);
});

test("the next leader goes on where the last one was lost", async () => {
  await atEveryCall(async (n) => {
    await put(LARGE);
    await clock.advance(PAYLOAD_IDLE_MS);
    const leading = isLeading();
    const lost = interleavedKv(local.kv, n, () => {
      leading.fence = undefined;
      return Promise.resolve();
    });
    openCollector(lost.kv, leading);
    await passLooks();
    await collectors.pop()?.close();
    openCollector();
    await passDay();
    expect(await keysLeft(), `lost at call ${n}`).toEqual([]);
    await collectors.pop()?.close();
    return { calls: lost.calls() };
  });
});

const SIZES = [["small", SMALL], ["large", LARGE]] as const;

test.each(SIZES)("who names or writes a %s one meanwhile has it whole", async (_size, one) => {
  const moments = await atEveryCall(async (n) => {
    await put(one);
    await clock.advance(PAYLOAD_IDLE_MS);
    const meanwhile = interleavedKv(local.kv, n, async () => {
      if (await name(one)) return;
      // What is gone is written again.
      await put(one);
      expect(await name(one)).toBe(true);
    });
    openCollector(meanwhile.kv);
    await passLooks();
    await passLooks();
    if (meanwhile.calls() >= n) await expectWhole(one);
    else expect(await keysLeft()).toEqual([]);
    await collectors.pop()?.close();
    await unname(one);
    return { calls: meanwhile.calls() };
  });
  expect(moments).toBeGreaterThan(8);
});
