// Manifests, archives and blueprints that somebody has altered, anywhere: accepted or refused with a stated code, and
// nothing is written by what is refused.
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { ArtifactRemoval } from "../../src/slices/artifacts/artifact-removal.ts";
import { BlueprintStore } from "../../src/slices/blueprints/blueprint-store.ts";
import { encodeArchive } from "../../src/slices/core/archive.ts";
import type { Manifest } from "../../src/slices/core/manifest.ts";
import { ArtifactRepository } from "../../src/slices/artifacts/repository.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { sampleArchive, sampleBundle, sampleManifest, type Sample } from "../unit/slices-build/sample-artifacts.ts";

const REFUSALS = ["E_INVALID", "E_VERSION", "E_TOO_LARGE", "E_CONFLICT"];

const config = {
  ...z.toJSONSchema(z.object({ currency: z.string(), items: z.array(z.object({ sku: z.string() })).optional() })),
};
const sample: Sample = {
  artifact: "demo:orders:1.0.0",
  uses: { pricing: { slice: "pricing", artifact: "demo:pricing@^1.0.0" } },
  loadAfter: ["pricing"],
  config,
};
const document = {
  name: "shop",
  slices: {
    orders: {
      artifact: "demo:orders@^1.0.0", instances: 2, minAvailable: 1, config: { currency: "EUR", items: [{ sku: "a" }] },
      heapBytesMax: 67_108_864, concurrency: 8, variables: { TZ: "UTC" }, labels: { zone: "a" },
    },
    pricing: { artifact: "demo:pricing:1.0.0" },
  },
};

const strange = fc.oneof(
  fc.anything({ withNullPrototype: false, maxDepth: 2 }).filter(isPlain),
  fc.constantFrom<unknown>(
    "", "__proto__", "../../etc/passwd", "a".repeat(100_000), -1, 1e308, Number.NaN, null, {}, [], { $ref: "#" },
    { allOf: [{ $ref: "#" }, { $ref: "#" }] }, { pattern: "^(a+)+$", type: "string" }, ["orders"], "orders",
    "demo:orders@*", "9.9.9", `demo:${"o".repeat(300)}:1.0.0`,
  ),
);
/** How to alter something: which of its fields, counted through, and what stands there instead; nothing: it goes. */
const alterations = fc.array(fc.record({
  at: fc.nat(200),
  by: fc.oneof(fc.record({ value: strange }), fc.constant(undefined)),
}), { minLength: 1, maxLength: 3 });
type Alteration = { readonly at: number; readonly by: { readonly value: unknown } | undefined };

let local: LocalKv;
let repository: ArtifactRepository;
let blueprints: BlueprintStore;
beforeAll(async () => {
  local = await createLocalKv();
  repository = new ArtifactRepository({ kv: local.kv, clock: { wallMs: () => 1_700_000_000_000 } });
  blueprints = new BlueprintStore({ kv: local.kv, artifacts: repository });
  for (const pushed of [sample, { artifact: "demo:pricing:1.0.0" }]) await repository.push(sampleArchive(pushed));
});
afterAll(() => local.close());

/** Runs what may be refused. */
async function expectAllOrNothing(run: () => Promise<unknown>): Promise<void> {
  const before = local.kv.revision;
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(AetherError);
    if (!(error instanceof AetherError)) return;
    expect(REFUSALS).toContain(error.code);
    expect(error.message.length).toBeLessThan(20_000);
    expect(local.kv.revision).toBe(before);
  }
}

test("an altered manifest is accepted as it is, or refused with nothing written", async () => {
  await fc.assert(fc.asyncProperty(alterations, async (changes) => {
    const altered = alter(sampleManifest(sample), changes) as Manifest;
    await expectAllOrNothing(async () => repository.push(encodeArchive(altered, sampleBundle(sample))));
  }), { numRuns: 400 });
});

test("an archive with altered bytes, or cut, is accepted as it is, or refused with nothing written", async () => {
  const archive = sampleArchive(sample);
  const places = fc.array(fc.tuple(fc.nat(archive.byteLength - 1), fc.nat(255)), { maxLength: 4 });
  await fc.assert(fc.asyncProperty(places, fc.nat(archive.byteLength), async (changes, length) => {
    const altered = Uint8Array.from(archive);
    for (const [at, byte] of changes) altered[at] = byte;
    await expectAllOrNothing(() => repository.push(altered.subarray(0, changes.length === 0 ? length : undefined)));
  }), { numRuns: 400 });
});

test("an altered blueprint is applied as it is, or refused with nothing written", async () => {
  await fc.assert(fc.asyncProperty(alterations, async (changes) => {
    await expectAllOrNothing(() => blueprints.apply("shop", alter(document, changes)));
  }), { numRuns: 400 });
});

test("after all that, each row that is there can be read, and no chunk is without one", async () => {
  for (const { artifact } of await repository.list()) expect((await repository.fetch(artifact)).digest).toBeDefined();
  const removal = new ArtifactRemoval({ kv: local.kv, pause: () => Promise.resolve() });
  expect(await removal.leftovers()).toEqual([]);
});

function isPlain(value: unknown): boolean {
  if (typeof value === "bigint" || typeof value === "symbol" || value === undefined) return false;
  return typeof value !== "object" || value === null || Object.values(value).every(isPlain);
}

function alter(original: unknown, changes: readonly Alteration[]): unknown {
  let altered: unknown = structuredClone(original);
  for (const { at, by } of changes) {
    const places = placesOf(altered);
    const place = places[at % Math.max(1, places.length)];
    // A copy: what stands there is altered by the next change, and must not become a part of itself.
    const value: unknown = structuredClone(by?.value);
    if (place === undefined) altered = value;
    else if (by === undefined) Reflect.deleteProperty(place.holder, place.name);
    else Reflect.set(place.holder, place.name, value);
  }
  return altered;
}

/** Every field and item, of whatever depth. */
function placesOf(value: unknown): readonly { readonly holder: object; readonly name: string }[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, field]) => [{ holder: value, name }, ...placesOf(field)]);
}
