// The leader's collection of artifacts over a real store, on a manual clock.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { parseArtifactId } from "../../src/base/ids.ts";
import { HOUR_MS, MINUTE_MS } from "../../src/base/units.ts";
import { ArtifactCollector, ArtifactsConfig } from "../../src/cluster/leadership/artifact-collector.ts";
import { formatKey, LEADER_KEY, prefixOf } from "../../src/kvstore/core/key.ts";
import type { Compare } from "../../src/kvstore/core/schema.ts";
import { ArtifactRemoval } from "../../src/slices/artifacts/artifact-removal.ts";
import { BlueprintStore } from "../../src/slices/blueprints/blueprint-store.ts";
import { CHUNK_BYTES, chunkKey } from "../../src/slices/core/artifact-row.ts";
import { ArtifactRepository } from "../../src/slices/artifacts/repository.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { sampleArchive } from "../unit/slices-build/sample-artifacts.ts";

const ROUND_MS = 10 * MINUTE_MS;
const orders = parseArtifactId("demo:orders:1.0.0");
const pricing = parseArtifactId("demo:pricing:1.0.0");

let clock: ManualClock;
let local: LocalKv;
let repository: ArtifactRepository;
let collector: ArtifactCollector;
let fence: Compare | undefined;
const fatal: unknown[] = [];

beforeEach(async () => {
  clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  local = await opening;
  repository = new ArtifactRepository({ kv: local.kv, clock });
  const removal = new ArtifactRemoval({ kv: local.kv, pause: () => clock.sleep(0) });
  const leadership = { fence: () => fence };
  const ports = { removal, leadership, onFatal: (error: unknown) => void fatal.push(error) };
  const config = ArtifactsConfig.parse({ keepHours: 2 });
  collector = new ArtifactCollector({ clock, telemetry: SILENT_TELEMETRY }, ports, config);
  fence = undefined;
  await settled(takeLead(1));
  for (const artifact of [orders, pricing]) await settled(repository.push(sampleArchive({ artifact })));
  collector.start();
});

afterEach(async () => {
  await settled(collector.close());
  await settled(local.close());
  expect(fatal).toEqual([]);
});

async function settled<T>(work: Promise<T>): Promise<T> {
  return await clock.settled(work, MINUTE_MS);
}

/** Another epoch begins; this node leads it unless it says otherwise. */
async function takeLead(epoch: number): Promise<Compare> {
  const put = { kind: "put", key: LEADER_KEY, value: { epoch } } as const;
  const { revision } = await local.kv.transact({ compare: [], then: [put], else: [] });
  fence = { key: LEADER_KEY, target: "modRevision", op: "=", value: revision };
  return fence;
}

async function held(): Promise<readonly string[]> {
  return (await settled(repository.list())).map(({ artifact }) => artifact);
}

async function chunkCount(): Promise<number> {
  return (await settled(local.kv.list({ prefix: prefixOf({ kind: "blobs" }) }))).entries.length;
}

describe("what nobody needs", () => {
  test("goes once its time is over, what a blueprint needs stays (R4)", async () => {
    const blueprints = new BlueprintStore({ kv: local.kv, artifacts: repository });
    await settled(blueprints.apply("shop", { slices: { orders: { artifact: orders } } }));
    await clock.advance(2 * HOUR_MS - ROUND_MS);
    expect(await held()).toEqual([orders, pricing]);
    await clock.advance(3 * ROUND_MS);
    expect(await held()).toEqual([orders]);
    expect(await chunkCount()).toBe(1);
    await settled(blueprints.delete("shop"));
    await clock.advance(2 * ROUND_MS);
    expect(await held()).toEqual([]);
    expect(await chunkCount()).toBe(0);
  });

  test("stays when it was pushed again", async () => {
    await clock.advance(2 * HOUR_MS - ROUND_MS);
    await settled(repository.push(sampleArchive({ artifact: orders })));
    await clock.advance(3 * ROUND_MS);
    expect(await held()).toEqual([orders]);
  });

  test("stays where this node does not lead", async () => {
    fence = undefined;
    await clock.advance(3 * HOUR_MS);
    expect(await held()).toEqual([orders, pricing]);
  });

  test("stays when another epoch has begun and this node does not know it yet", async () => {
    const own = fence;
    await settled(takeLead(2));
    fence = own;
    await clock.advance(3 * HOUR_MS);
    expect(await held()).toEqual([orders, pricing]);
    await settled(takeLead(3));
    await clock.advance(2 * ROUND_MS);
    expect(await held()).toEqual([]);
  });

  test("stays while a blueprint cannot be read, and the collector goes on when it can", async () => {
    const key = formatKey({ kind: "blueprint-current", name: "shop" });
    await settled(local.kv.transact({ compare: [], then: [{ kind: "put", key, value: "damaged" }], else: [] }));
    await clock.advance(3 * HOUR_MS);
    expect(await held()).toEqual([orders, pricing]);
    await settled(local.kv.transact({ compare: [], then: [{ kind: "delete", key }], else: [] }));
    await clock.advance(2 * ROUND_MS);
    expect(await held()).toEqual([]);
  });
});

describe("chunks of a push that did not end", () => {
  const archive = sampleArchive({ artifact: "demo:stock:1.0.0", bundle: Buffer.alloc(3 * CHUNK_BYTES) });

  async function writeChunk(chunk: number): Promise<void> {
    const value = archive.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES);
    const key = chunkKey(sha256(archive), chunk);
    await settled(local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] }));
  }

  test("go after an hour in which nobody began to push them again", async () => {
    await writeChunk(1);
    await clock.advance(HOUR_MS);
    await writeChunk(1);
    await clock.advance(5 * ROUND_MS);
    expect(await chunkCount()).toBe(3);
    await clock.advance(4 * ROUND_MS);
    expect(await chunkCount()).toBe(0);
    expect(await held()).toEqual([]);
  });
});
