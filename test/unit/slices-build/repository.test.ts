import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import { parseArtifactId } from "../../../src/base/ids.ts";
import { MiB } from "../../../src/base/units.ts";
import { formatKey } from "../../../src/kvstore/core/key.ts";
import type { Kv } from "../../../src/kvstore/kv.ts";
import { createDirectoryBlobCache } from "../../../src/slices/artifacts/blob-cache-adapter.ts";
import { decodeArchive } from "../../../src/slices/core/archive.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { sampleArchive, sampleBundle } from "./sample-artifacts.ts";

const orders = parseArtifactId("demo:orders:1.0.0");
const archive = sampleArchive({ artifact: orders });
const clock = { wallMs: () => 1_700_000_000_000 };
/** Several chunks, the last one short; no two alike. */
const bigBundle = Buffer.from(Array.from({ length: 100_000 }, (_, index) => `line ${index};`).join("\n"));

let local: LocalKv;
let directory = "";
beforeEach(async () => {
  local = await createLocalKv();
  directory = await mkdtemp(join(tmpdir(), "aether-repository-test-"));
});
afterEach(async () => {
  await local.close();
  await rm(directory, { recursive: true, force: true });
});

/** Overwrites one chunk of a stored archive. */
async function writeChunk(kv: Kv, bytes: Uint8Array | undefined): Promise<void> {
  const key = formatKey({ kind: "blob", digest: sha256(archive), chunk: 0 });
  const op = bytes === undefined ? { kind: "delete" as const, key } : { kind: "put" as const, key, value: bytes };
  await kv.transact({ compare: [], then: [op], else: [] });
}

describe("pushing an artifact", () => {
  test("stores it, and fetching gives its bundle and manifest back", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    const pushed = await repository.push(archive, { expect: orders });
    expect(pushed).toEqual({ artifact: orders, digest: sha256(archive) });
    const fetched = await repository.fetch(orders);
    expect(Buffer.from(fetched.bundle)).toEqual(Buffer.from(sampleBundle({ artifact: orders })));
    expect(fetched).toMatchObject({ manifest: decodeArchive(archive).manifest, digest: sha256(fetched.bundle) });
    expect(await repository.manifest(orders)).toEqual(fetched.manifest);
  });

  test("cuts a large one into chunks and puts it together again", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    await repository.push(sampleArchive({ artifact: orders, bundle: bigBundle }));
    expect(bigBundle.byteLength).toBeGreaterThan(4 * 256 * 1_024);
    expect(Buffer.from((await repository.fetch(orders)).bundle).equals(bigBundle)).toBe(true);
  });

  test("again with the same bytes is fine and writes nothing", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    const first = await repository.push(archive);
    const revision = local.kv.revision;
    expect(await repository.push(archive)).toEqual(first);
    expect(local.kv.revision).toBe(revision);
  });

  test("with other bytes under the same name is a conflict, and the first stays (R1)", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    await repository.push(archive);
    const other = sampleArchive({ artifact: orders, bundle: Buffer.from("other") });
    await expect(repository.push(other)).rejects.toMatchObject({ code: "E_CONFLICT" });
    expect(Buffer.from((await repository.fetch(orders)).bundle).equals(Buffer.from("other"))).toBe(false);
  });

  test("of one name by many at once lets exactly one content win (R1)", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    const contents = ["a", "b", "c"].flatMap((text) => [text, text]);
    const outcomes = await Promise.allSettled(
      contents.map((text) => repository.push(sampleArchive({ artifact: orders, bundle: Buffer.from(text) }))),
    );
    const won = outcomes.flatMap((outcome, index) => (outcome.status === "fulfilled" ? [contents[index]] : []));
    expect(won.length).toBe(2);
    expect(new Set(won).size).toBe(1);
    expect(Buffer.from((await repository.fetch(orders)).bundle).toString()).toBe(won[0]);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "E_CONFLICT" });
    }
  });

  test("as something else than it is, or garbage, is refused before anything is written", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    const expected = parseArtifactId("demo:orders:2.0.0");
    await expect(repository.push(archive, { expect: expected })).rejects.toMatchObject({ code: "E_INVALID" });
    await expect(repository.push(Buffer.from("garbage"))).rejects.toMatchObject({ code: "E_INVALID" });
    expect(local.kv.revision).toBe(0);
    expect(await repository.list()).toEqual([]);
  });

  test("is listed with its size and manifest", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    await repository.push(archive);
    await repository.push(sampleArchive({ artifact: "demo:orders:1.1.0" }));
    expect(await repository.list()).toMatchObject([
      { artifact: orders, digest: sha256(archive), bytes: archive.byteLength, manifest: { slice: "orders" } },
      { artifact: "demo:orders:1.1.0" },
    ]);
  });
});

test("hashing a large one lets others have the thread, and instances that fetch at once share it", async () => {
  let pauses = 0;
  const pause = (): Promise<void> => Promise.resolve(void (pauses += 1));
  let reads = 0;
  const cache = { read: () => Promise.resolve(void (reads += 1)), write: () => Promise.resolve() };
  const repository = new ArtifactRepository({ kv: local.kv, clock, pause, cache });
  const bundle = Buffer.alloc(9 * MiB, "large");
  await repository.push(sampleArchive({ artifact: orders, bundle }));
  expect(pauses).toBe(4);
  const fetched = await Promise.all([1, 2, 3].map(() => repository.fetch(orders)));
  expect([pauses, reads]).toEqual([4 + 4 + 2, 1]);
  for (const one of fetched) expect(sha256(one.bundle)).toBe(sha256(bundle));
  await repository.fetch(orders);
  expect(reads).toBe(2);
});

describe("an artifact whose row is damaged", () => {
  const key = formatKey({ kind: "artifact", artifact: orders });
  const other = sampleArchive({ artifact: "demo:orders:1.1.0" });

  async function damage(change: (row: Record<string, unknown>) => unknown): Promise<ArtifactRepository> {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    await repository.push(archive);
    await repository.push(other);
    const { entry } = await local.kv.get(key);
    const value = change({ ...(entry?.value as Record<string, unknown>) });
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
    return repository;
  }

  test("is named as such, and hides no other", async () => {
    const repository = await damage((row) => ({ ...row, manifest: { artifact: "nonsense" } }));
    expect(await repository.list()).toMatchObject([{ artifact: "demo:orders:1.1.0" }]);
    expect(await repository.listAll()).toEqual([
      { artifact: orders, damage: expect.stringContaining(`the stored ${key} cannot be used`) },
      expect.objectContaining({ artifact: "demo:orders:1.1.0", bytes: other.byteLength }),
    ]);
    await expect(repository.fetch(orders)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
  });

  test.each([
    ["still says its digest", (row: Record<string, unknown>) => ({ ...row, bytes: -1 })],
    ["says nothing", () => "garbage"],
  ])("is mended by pushing it again, when it %s", async (_what, change) => {
    const repository = await damage(change);
    await repository.push(archive);
    expect((await repository.fetch(orders)).bundle).toEqual(decodeArchive(archive).bundle);
  });

  test("takes no other content in place of the one that it names (R1)", async () => {
    const repository = await damage((row) => ({ ...row, bytes: -1 }));
    const changed = sampleArchive({ artifact: orders, bundle: Buffer.from("export default 7;") });
    await expect(repository.push(changed)).rejects.toMatchObject({ code: "E_CONFLICT" });
  });
});

describe("fetching an artifact", () => {
  test("that nobody pushed says so", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    await expect(repository.fetch(orders)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await expect(repository.manifest(orders)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test.each([
    ["altered", Buffer.from(archive).fill(0x20, 40, 44)],
    ["shortened", Buffer.from(archive).subarray(0, 50)],
    ["lengthened", Buffer.concat([archive, Buffer.from("x")])],
    ["missing", undefined],
  ])("whose stored bytes are %s is refused (R3)", async (_what, bytes) => {
    const repository = new ArtifactRepository({ kv: local.kv, clock });
    await repository.push(archive);
    await writeChunk(local.kv, bytes);
    await expect(repository.fetch(orders)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
  });

  test("works from the cache without the store's chunks", async () => {
    const cache = createDirectoryBlobCache(join(directory, "not", "there", "yet"));
    const repository = new ArtifactRepository({ kv: local.kv, clock, cache });
    await repository.push(archive);
    const first = await repository.fetch(orders);
    await writeChunk(local.kv, undefined);
    expect(Buffer.from((await repository.fetch(orders)).bundle)).toEqual(Buffer.from(first.bundle));
  });

  test("repairs a damaged file of the cache from the store", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock, cache: createDirectoryBlobCache(directory) });
    await repository.push(archive);
    await repository.fetch(orders);
    const file = join(directory, sha256(archive));
    await writeFile(file, "damaged");
    await repository.fetch(orders);
    expect(await readFile(file)).toEqual(Buffer.from(archive));
  });

  test("does not need the cache to work", async () => {
    const file = join(directory, "a-file");
    await writeFile(file, "not a directory");
    const repository = new ArtifactRepository({ kv: local.kv, clock, cache: createDirectoryBlobCache(file) });
    await repository.push(archive);
    expect((await repository.fetch(orders)).manifest.artifact).toBe(orders);
  });
});

describe("the directory cache", () => {
  test("leaves whole files only, also when many write the same", async () => {
    const cache = createDirectoryBlobCache(directory);
    await Promise.all(Array.from({ length: 10 }, () => cache.write(sha256(archive), archive)));
    expect(await readdir(directory)).toEqual([sha256(archive)]);
    expect(await cache.read(sha256(archive))).toEqual(Buffer.from(archive));
    expect(await cache.read(sha256("other"))).toBeUndefined();
  });
});
