// Owns: what a node remembers of the code that jobs are pinned to.
import { afterEach, beforeEach, expect, test } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { parseArtifactId } from "../../src/base/ids.ts";
import { Pins } from "../../src/jobs/running/pins.ts";
import { formatKey, type KeyText } from "../../src/kvstore/core/key.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { sampleManifest } from "../unit/slices-build/sample-artifacts.ts";

const NAME = "demo:claims:1.0.0";
const ARTIFACT = parseArtifactId(NAME);
const ARCHIVE = sha256("archive");
const PINNED = sha256("pin");
const claims = { input: { type: "string" }, output: {}, tools: {}, signals: { go: {} } };
let local: LocalKv;
let reads = 0;

beforeEach(async () => {
  local = await createLocalKv();
  reads = 0;
  await put(formatKey({ kind: "job-pin", digest: PINNED }), {
    artifact: ARTIFACT, archive: ARCHIVE, slice: "claims", config: {}, uses: {}, heapBytesMax: 1, variables: {},
    renewedMs: 0,
  });
});
afterEach(() => local.close());

async function put(key: KeyText, value: unknown): Promise<void> {
  await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
}

async function putArtifact(archive = ARCHIVE): Promise<void> {
  const manifest = { ...sampleManifest({ artifact: NAME }), agents: { claims } };
  await put(formatKey({ kind: "artifact", artifact: ARTIFACT }), { digest: archive, bytes: 1, chunks: 1, manifest });
}

function openPins(): Pins {
  const kv = Object.create(local.kv) as LocalKv["kv"];
  kv.get = async (...args) => {
    reads += 1;
    return await local.kv.get(...args);
  };
  return new Pins({ clock: createRealClock() }, { kv, blueprints: () => [] });
}

test("what a pin's manifest says of its agents is read once", async () => {
  await putArtifact();
  const pins = openPins();
  expect(await pins.definitionOf(PINNED, "claims")).toEqual(claims);
  const first = reads;
  expect(await pins.definitionOf(PINNED, "claims")).toEqual(claims);
  expect(await pins.hasAgent(PINNED, "claims")).toBe(true);
  expect(await pins.needsOf(PINNED, "claims")).toEqual({});
  for (const agent of ["refunds", "toString", "__proto__"]) {
    expect(await pins.definitionOf(PINNED, agent)).toBeUndefined();
  }
  expect(reads).toBe(first);
});

test("of an artifact that is away, or was pushed anew, a pin knows nothing, and asks again", async () => {
  const pins = openPins();
  expect(await pins.definitionOf(PINNED, "claims")).toBeUndefined();
  await putArtifact(sha256("another archive"));
  expect(await pins.definitionOf(PINNED, "claims")).toBeUndefined();
  await putArtifact();
  expect(await pins.definitionOf(PINNED, "claims")).toEqual(claims);
  await expect(pins.definitionOf(sha256("no pin"), "claims")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
});
