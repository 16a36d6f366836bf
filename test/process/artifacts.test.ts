// Slow. Artifacts on real nodes: a hundred versions pushed, replaced and removed, and a hostile one.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { encodeArchive } from "../../src/slices/core/archive.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { sampleArchive, sampleBundle, sampleManifest } from "../unit/slices-build/sample-artifacts.ts";

const VERSIONS = 100;
/** More than two chunks, so that a removal that forgot one would show. */
const BUNDLE_BYTES = 600 * 1_024;

const usageSchema = z.object({ liveBytes: z.number() });
const listSchema = z.object({
  artifacts: z.array(z.object({ artifact: z.string(), neededBy: z.array(z.string()) })),
});
const refusalSchema = z.object({ error: z.object({ code: z.string(), message: z.string(), details: z.unknown() }) });

let fleet: NodeFleet;
beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
});
afterAll(() => fleet.close());

const api = (path: string): string => `${fleet.api(fleet.names[0] ?? "")}/v1/${path}`;

async function push(artifact: string, archive: Uint8Array): Promise<{ readonly status: number; body: unknown }> {
  const response = await fetch(api(`artifacts/${artifact}`), { method: "PUT", body: Buffer.from(archive) });
  return { status: response.status, body: await response.json() };
}

async function liveBytes(): Promise<number> {
  return usageSchema.parse((await ask(api("cluster/quota"), {})).body).liveBytes;
}

/** None of them is meant to run: what counts is that a blueprint names them. */
async function apply(name: string, slices: Readonly<Record<string, string>>): Promise<void> {
  const entries = Object.entries(slices).map(([slice, artifact]) => [slice, { artifact, instances: 0 }]);
  const body = { slices: Object.fromEntries(entries) as unknown };
  expect(await ask(api(`blueprints/${name}`), { method: "PUT", body })).toMatchObject({ status: 200 });
}

test("a hundred versions pushed and removed leave nothing, and what a blueprint needs stays", async () => {
  await push("demo:stock:1.0.0", sampleArchive({ artifact: "demo:stock:1.0.0" }));
  await apply("store", { stock: "demo:stock:1.0.0" });
  const before = await liveBytes();
  const artifacts = Array.from({ length: VERSIONS }, (_, index) => `demo:orders:1.${index}.0`);
  for (const [index, artifact] of artifacts.entries()) {
    const bundle = Buffer.alloc(BUNDLE_BYTES, index + 1);
    expect(await push(artifact, sampleArchive({ artifact, bundle }))).toMatchObject({ status: 200 });
  }
  expect(await liveBytes()).toBeGreaterThan(before + VERSIONS * BUNDLE_BYTES);
  await apply("shop", { orders: "demo:orders:1.0.0" });

  const refused = await ask(api("artifacts/demo:orders:1.0.0"), { method: "DELETE" });
  expect(refused).toMatchObject({
    status: 409, body: { error: { code: "E_CONFLICT", details: { neededBy: ["blueprint shop, revision 1"] } } },
  });
  await ask(api("blueprints/shop"), { method: "DELETE" });
  for (const artifact of artifacts) {
    expect(await ask(api(`artifacts/${artifact}`), { method: "DELETE" })).toMatchObject({ status: 200 });
  }
  expect((await ask(api("artifacts/demo:stock:1.0.0"), { method: "DELETE" })).status).toBe(409);
  const { artifacts: left } = listSchema.parse((await ask(api("artifacts"), {})).body);
  expect(left).toEqual([expect.objectContaining({ artifact: "demo:stock:1.0.0" })]);
  // The rows of a deleted blueprint stay; the leader's own rows change meanwhile.
  await eventually("the store is as large as before", async () => (await liveBytes()) < before + 64 * 1_024);
});

test("a schema with a pattern that would run for years stops nobody", async () => {
  const artifact = "demo:hostile:1.0.0";
  const pattern = { type: "object", properties: { a: { type: "string", pattern: "^(a+)+$" } } };
  await push(artifact, sampleArchive({ artifact, config: pattern }));
  const config = { a: `${"a".repeat(60)}!` };
  const body = { slices: { hostile: { artifact, instances: 0, config } } };
  expect(await ask(api("blueprints/hostile"), { method: "PUT", body })).toMatchObject({ status: 200 });
  for (const name of fleet.names) expect((await ask(`${fleet.api(name)}/readyz`, {})).status).toBe(200);
});

test("an artifact of another SDK is refused with the place, and nothing of it is stored", async () => {
  const before = await liveBytes();
  const other = { ...sampleManifest({ artifact: "demo:new:1.0.0" }), sdkVersion: "9.0.0" };
  const answer = await push("demo:new:1.0.0", encodeArchive(other, sampleBundle({ artifact: "demo:new:1.0.0" })));
  const { error } = refusalSchema.parse(answer.body);
  expect(error).toMatchObject({ code: "E_VERSION", details: { issues: [{ path: ["sdkVersion"] }] } });
  expect(error.message).toContain("SDK 9.0.0");
  expect(Math.abs((await liveBytes()) - before)).toBeLessThan(1_024);
});
