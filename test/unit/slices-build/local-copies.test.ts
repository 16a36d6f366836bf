import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import { parseArtifactId } from "../../../src/base/ids.ts";
import { HOUR_MS, MINUTE_MS } from "../../../src/base/units.ts";
import { formatKey } from "../../../src/kvstore/core/key.ts";
import { createDirectoryBlobCache } from "../../../src/slices/artifacts/blob-cache-adapter.ts";
import { createBundleFiles } from "../../../src/slices/host/bundle-files-adapter.ts";
import { LocalCopies, type CopiedFiles } from "../../../src/slices/artifacts/local-copies.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { SILENT_TELEMETRY } from "../../support/cluster-world.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { sampleArchive, sampleBundle } from "./sample-artifacts.ts";

const orders = { artifact: "demo:orders:1.0.0" };
const gone = { artifact: "demo:gone:1.0.0" };

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aether-copies-test-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function makeOld(place: string, ...names: readonly string[]): Promise<void> {
  for (const name of names) await utimes(join(directory, place, name), 1_000, 1_000);
}

test("files of digests that are kept, and young ones, stay; others and drafts of dead writers go", async () => {
  const cache = createDirectoryBlobCache(join(directory, "a"));
  const bundles = createBundleFiles(join(directory, "b"));
  const [kept, old, young] = ["kept", "old", "young"].map((text) => new TextEncoder().encode(text));
  for (const bytes of [kept, old, young]) {
    if (bytes === undefined) continue;
    await cache.write(sha256(bytes), bytes);
    await bundles.put(bytes, sha256(bytes));
  }
  await writeFile(join(directory, "a", `${sha256("kept")}.1-1.partial`), "draft");
  await makeOld("a", sha256("kept"), sha256("old"), `${sha256("kept")}.1-1.partial`);
  await makeOld("b", `${sha256("kept")}.mjs`, `${sha256("old")}.mjs`);
  const only = new Set([sha256("kept")]);
  expect(await cache.retain(only, 2_000_000)).toBe(2);
  expect(await bundles.retain(only, 2_000_000)).toBe(1);
  expect(await readdir(join(directory, "a"))).toEqual([sha256("kept"), sha256("young")].sort());
  expect(await readdir(join(directory, "b"))).toEqual([`${sha256("kept")}.mjs`, `${sha256("young")}.mjs`].sort());
  expect(await createDirectoryBlobCache(join(directory, "never-made")).retain(only, 2_000_000)).toBe(0);
});

test("a node keeps the archives and bundles that the store names, and does nothing when it cannot tell", async () => {
  const clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  const local: LocalKv = await opening;
  const repository = new ArtifactRepository({ kv: local.kv, clock });
  await settled(clock, repository.push(sampleArchive(orders)));
  const kept: string[][] = [];
  const copies: CopiedFiles = { retain: (digests) => Promise.resolve(kept.push([...digests].sort())) };
  const cleaning = new LocalCopies({ clock, telemetry: SILENT_TELEMETRY }, {
    kv: local.kv, copies: [copies], onFatal: (error) => expect.unreachable(String(error)),
  });
  cleaning.start();
  await clock.advance(11 * MINUTE_MS);
  const digests = [sha256(sampleArchive(orders)), sha256(sampleBundle(orders))].sort();
  expect(kept).toEqual([digests]);
  await settled(clock, repository.push(sampleArchive(gone)));
  const key = formatKey({ kind: "artifact", artifact: parseArtifactId(gone.artifact) });
  await settled(clock, local.kv.transact({ compare: [], then: [{ kind: "put", key, value: "damaged" }], else: [] }));
  await clock.advance(2 * HOUR_MS);
  expect(kept).toEqual([digests]);
  await settled(clock, local.kv.transact({ compare: [], then: [{ kind: "delete", key }], else: [] }));
  await clock.advance(HOUR_MS);
  expect(kept).toEqual([digests, digests]);
  await settled(clock, cleaning.close());
  await settled(clock, local.close());
});

async function settled<T>(clock: ManualClock, work: Promise<T>): Promise<T> {
  return await clock.settled(work, MINUTE_MS);
}
