import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import { parseArtifactId, parseNodeId, type ArtifactId } from "../../../src/base/ids.ts";
import { formatKey, prefixOf } from "../../../src/kvstore/core/key.ts";
import type { Kv } from "../../../src/kvstore/kv.ts";
import { ArtifactRemoval } from "../../../src/slices/artifacts/artifact-removal.ts";
import { ArtifactService } from "../../../src/slices/artifacts/artifact-service.ts";
import { BlueprintStore } from "../../../src/slices/blueprints/blueprint-store.ts";
import { CHUNK_BYTES, chunkKey } from "../../../src/slices/core/artifact-row.ts";
import { listRows } from "../../../src/slices/list-rows.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { atEveryCall, interleavedKv } from "../../support/interleaved-kv.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { writeLaterKey } from "../../support/later-key.ts";
import { sampleArchive } from "./sample-artifacts.ts";

const v1 = parseArtifactId("demo:orders:1.0.0");
const v2 = parseArtifactId("demo:orders:2.0.0");
const pricing = parseArtifactId("demo:pricing:1.0.0");
const uses = { pricing: { slice: "pricing", artifact: "demo:pricing@^1.0.0" } };
/** Five chunks. */
const bigArchive = sampleArchive({ artifact: v1, bundle: Buffer.alloc(4 * CHUNK_BYTES + 100, 7) });
const clock = { wallMs: () => 1_700_000_000_000 };

let local: LocalKv;
beforeEach(async () => {
  local = await createLocalKv();
});
afterEach(() => local.close());

const removalOn = (kv: Kv): ArtifactRemoval => new ArtifactRemoval({ kv, pause: () => Promise.resolve() });
const repositoryOn = (kv: Kv): ArtifactRepository => new ArtifactRepository({ kv, clock });
const storeOn = (kv: Kv): BlueprintStore => new BlueprintStore({ kv, artifacts: repositoryOn(kv) });

async function push(...artifacts: readonly string[]): Promise<void> {
  for (const artifact of artifacts) {
    await repositoryOn(local.kv).push(sampleArchive({ artifact, ...(artifact === pricing ? {} : { uses }) }));
  }
}

const documentOf = (artifact: ArtifactId) => ({ slices: { orders: { artifact } } });

async function needsOf(artifact: ArtifactId): Promise<readonly string[] | undefined> {
  return (await removalOn(local.kv).survey()).find((stored) => stored.artifact === artifact)?.neededBy;
}

async function chunkKeys(kv: Kv): Promise<readonly string[]> {
  return (await listRows(kv, prefixOf({ kind: "blobs" }))).map(({ key }) => key);
}

/** A push that ended before its row was written. */
async function leaveChunks(kv: Kv): Promise<void> {
  const digest = sha256(bigArchive);
  for (const chunk of [1, 2, 3]) {
    const value = bigArchive.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES);
    await kv.transact({ compare: [], then: [{ kind: "put", key: chunkKey(digest, chunk), value }], else: [] });
  }
}

async function sweepAll(kv: Kv): Promise<number> {
  const removal = removalOn(kv);
  let swept = 0;
  for (const leftover of await removal.leftovers()) if (await removal.sweep(leftover, [])) swept++;
  return swept;
}

/** R2, whatever happened: who sees the row can read the content. */
async function expectWhole(kv: Kv, artifact: ArtifactId): Promise<void> {
  const { entry } = await kv.get(formatKey({ kind: "artifact", artifact }));
  if (entry !== undefined) expect((await repositoryOn(kv).fetch(artifact)).manifest.artifact).toBe(artifact);
}

describe("an artifact is needed (R4)", () => {
  test("by each stored revision of a blueprint, for its slices and what they use, until that goes", async () => {
    await push(v1, v2, pricing);
    const blueprints = storeOn(local.kv);
    await blueprints.apply("shop", documentOf(v1));
    await blueprints.apply("shop", documentOf(v2));
    expect(await needsOf(v1)).toEqual(["blueprint shop, revision 1"]);
    expect(await needsOf(v2)).toEqual(["blueprint shop, revision 2"]);
    expect(await needsOf(pricing)).toEqual(["blueprint shop, revision 1", "blueprint shop, revision 2"]);
    await blueprints.delete("shop");
    expect(await needsOf(v1)).toEqual([]);
    expect(await needsOf(pricing)).toEqual([]);
  });

  test("by every instance, whatever its row says", async () => {
    await push(v1);
    const key = formatKey({ kind: "slice", node: parseNodeId("n1"), artifact: v1, instance: 0 });
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: "damaged" }], else: [] });
    expect(await needsOf(v1)).toEqual(["instance demo:orders:1.0.0/0 on n1"]);
  });

  test("by nobody knows whom while a blueprint cannot be read: nothing is removed, but listed", async () => {
    await push(v1, v2, pricing);
    await storeOn(local.kv).apply("shop", documentOf(v1));
    const key = formatKey({ kind: "blueprint", name: "shop", revision: 1 });
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: "damaged" }], else: [] });
    await expect(removalOn(local.kv).remove(v2)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
    const listed = await new ArtifactService(repositoryOn(local.kv), removalOn(local.kv)).list();
    expect(listed.map((one) => [one.artifact, "neededBy" in one])).toEqual(
      [v1, v2, pricing].map((artifact) => [artifact, false]),
    );
  });

  test.each([
    { kind: "slice", node: parseNodeId("n1"), artifact: v1, instance: 0 },
    { kind: "blueprint-current", name: "shop" },
  ] as const)("beside a $kind of a later build nothing is removed, and the answer says why", async (like) => {
    await push(v2, pricing);
    writeLaterKey(local, like);
    await expect(removalOn(local.kv).remove(v2)).rejects.toMatchObject({
      code: "E_UNAVAILABLE", message: expect.stringContaining("was written by a later build"),
    });
    expect((await repositoryOn(local.kv).fetch(v2)).manifest.artifact).toBe(v2);
  });
});

describe("removing an artifact", () => {
  test("that is needed is refused with who needs it, and changes nothing (R4)", async () => {
    await push(v1, v2, pricing);
    await storeOn(local.kv).apply("shop", documentOf(v1));
    const revision = local.kv.revision;
    for (const artifact of [v1, pricing]) {
      await expect(removalOn(local.kv).remove(artifact)).rejects.toMatchObject({
        code: "E_CONFLICT", details: { artifact, neededBy: ["blueprint shop, revision 1"] },
      });
    }
    expect(local.kv.revision).toBe(revision);
  });

  test("of one blueprint keeps what another one needs", async () => {
    await push(v1, pricing);
    const blueprints = storeOn(local.kv);
    await blueprints.apply("shop", documentOf(v1));
    await blueprints.apply("prices", { slices: { pricing: { artifact: pricing } } });
    await blueprints.delete("shop");
    await removalOn(local.kv).remove(v1);
    await expect(removalOn(local.kv).remove(pricing)).rejects.toMatchObject({ code: "E_CONFLICT" });
    expect((await repositoryOn(local.kv).fetch(pricing)).manifest.slice).toBe("pricing");
  });

  test("takes its chunks along, and the name is free for other content", async () => {
    const repository = repositoryOn(local.kv);
    await repository.push(bigArchive);
    expect((await chunkKeys(local.kv)).length).toBe(5);
    await removalOn(local.kv).remove(v1);
    expect(await chunkKeys(local.kv)).toEqual([]);
    await expect(repository.fetch(v1)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await expect(removalOn(local.kv).remove(v1)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await push(v1);
    await expectWhole(local.kv, v1);
  });

  test("of more chunks than a transaction can delete leaves none", async () => {
    const archive = sampleArchive({ artifact: v1, bundle: Buffer.alloc(230 * CHUNK_BYTES, 1) });
    await repositoryOn(local.kv).push(archive);
    await removalOn(local.kv).remove(v1);
    expect(await chunkKeys(local.kv)).toEqual([]);
  });

  test("while a blueprint that needs it is applied, at whatever moment: one of both fails (R4)", async () => {
    const tried = await atEveryCall(async (n) => {
      const world = await createLocalKv();
      await repositoryOn(world.kv).push(sampleArchive({ artifact: v1 }));
      const apply = () => storeOn(world.kv).apply("shop", documentOf(v1));
      const { kv, calls } = interleavedKv(world.kv, n, apply);
      const [removed] = await Promise.allSettled([removalOn(kv).remove(v1)]);
      if (calls() >= n) expect(removed).toMatchObject({ status: "rejected", reason: { code: "E_CONFLICT" } });
      if (calls() >= n) expect((await repositoryOn(world.kv).fetch(v1)).manifest.artifact).toBe(v1);
      await world.close();
      return { calls: calls() };
    });
    expect(tried).toBeGreaterThan(4);
  });

  test("at whatever moment of applying a blueprint that needs it: one of both fails (R4)", async () => {
    let refused = 0;
    await atEveryCall(async (n) => {
      const world = await createLocalKv();
      await repositoryOn(world.kv).push(sampleArchive({ artifact: v1 }));
      const removing: Promise<unknown>[] = [];
      const { kv, calls } = interleavedKv(world.kv, n, async () => {
        removing.push(removalOn(world.kv).remove(v1));
        await Promise.allSettled(removing);
      });
      const [applied] = await Promise.allSettled([storeOn(kv).apply("shop", documentOf(v1))]);
      const [removed] = await Promise.allSettled(removing);
      if (applied.status === "rejected") refused++;
      else expect((await repositoryOn(world.kv).fetch(v1)).manifest.artifact).toBe(v1);
      if (removed !== undefined) expect(applied.status === "fulfilled").toBe(removed.status === "rejected");
      await world.close();
      return { calls: calls() };
    });
    expect(refused).toBeGreaterThan(0);
  });

  test("while it is being fetched is no damage: it is not there any more", async () => {
    await atEveryCall(async (n) => {
      const world = await createLocalKv();
      await repositoryOn(world.kv).push(bigArchive);
      const { kv, calls } = interleavedKv(world.kv, n, () => removalOn(world.kv).remove(v1));
      const [fetched] = await Promise.allSettled([repositoryOn(kv).fetch(v1)]);
      if (fetched.status === "rejected") expect(fetched.reason).toMatchObject({ code: "E_NOT_FOUND" });
      await world.close();
      return { calls: calls() };
    });
  });
});

describe("chunks without a row", () => {
  test("are found and swept, those of artifacts are not", async () => {
    await push(v2);
    const before = await chunkKeys(local.kv);
    await leaveChunks(local.kv);
    expect(await sweepAll(local.kv)).toBe(1);
    expect(await chunkKeys(local.kv)).toEqual(before);
    expect(await sweepAll(local.kv)).toBe(0);
  });

  test.each([
    ["that others have left", true],
    ["of its own", false],
  ])("swept at any moment of a push let it succeed: chunks %s (R2)", async (_what, hasLeftovers) => {
    const tried = await atEveryCall(async (n) => {
      const world = await createLocalKv();
      if (hasLeftovers) await leaveChunks(world.kv);
      const { kv, calls } = interleavedKv(world.kv, n, () => sweepAll(world.kv));
      expect((await repositoryOn(kv).push(bigArchive)).artifact).toBe(v1);
      expect((await repositoryOn(world.kv).fetch(v1)).manifest.artifact).toBe(v1);
      await world.close();
      return { calls: calls() };
    });
    expect(tried).toBeGreaterThanOrEqual(4);
  });

  test("are swept at no moment after a push has made them its own (R2)", async () => {
    const tried = await atEveryCall(async (n) => {
      const world = await createLocalKv();
      await leaveChunks(world.kv);
      const { kv, calls } = interleavedKv(world.kv, n, () => repositoryOn(world.kv).push(bigArchive));
      await sweepAll(kv);
      if (calls() >= n) expect((await repositoryOn(world.kv).fetch(v1)).manifest.artifact).toBe(v1);
      await world.close();
      return { calls: calls() };
    });
    expect(tried).toBeGreaterThan(4);
  });

  test("of a removal at any moment of a push leave no row without its chunks (R2)", async () => {
    await atEveryCall(async (n) => {
      const world = await createLocalKv();
      await repositoryOn(world.kv).push(bigArchive);
      const { kv, calls } = interleavedKv(world.kv, n, () => repositoryOn(world.kv).push(bigArchive));
      await removalOn(kv).remove(v1);
      await expectWhole(world.kv, v1);
      await world.close();
      return { calls: calls() };
    });
  });
});

describe("pushing again", () => {
  test("what is there is noted once an hour, so that it stays", async () => {
    const pushedAt = async (wallMs: number): Promise<number | undefined> => {
      await new ArtifactRepository({ kv: local.kv, clock: { wallMs: () => wallMs } }).push(bigArchive);
      return (await removalOn(local.kv).survey())[0]?.row.pushedAtMs;
    };
    const hour = 3_600_000;
    expect(await pushedAt(10 * hour)).toBe(10 * hour);
    expect(await pushedAt(11 * hour - 1)).toBe(10 * hour);
    expect(await pushedAt(11 * hour)).toBe(11 * hour);
    await expectWhole(local.kv, v1);
  });
});
