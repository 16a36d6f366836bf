// Slow. What a real node is given that is malformed, huge, self-referring, path-traversing, of a wrong digest or of
// another SDK: refused with the path of what is wrong, nothing of it is written, and what serves goes on serving.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { encode } from "../../src/base/codec.ts";
import { MiB } from "../../src/base/units.ts";
import { encodeArchive } from "../../src/slices/core/archive.ts";
import type { Manifest } from "../../src/slices/core/manifest.ts";
import { ask, eventually, NodeFleet, type Answer } from "../support/node-fleet.ts";
import { sampleArchive, sampleBundle, sampleManifest, type Sample } from "../unit/slices-build/sample-artifacts.ts";
import { applySlices, callOver, pushSlice, untilServed } from "./support/call-slices.ts";

const SAMPLE: Sample = { artifact: "demo:orders:1.0.0" };
const PREFIXES = ["artifacts/", "blobs/", "blueprints/", "routes/", "rollouts/", "schedules/", "topics/", "slices/"];
const REFUSALS = ["E_INVALID", "E_VERSION", "E_TOO_LARGE", "E_CONFLICT"];

const refusalSchema = z.object({
  error: z.object({
    code: z.string(),
    message: z.string().max(20_000),
    details: z.object({ issues: z.array(z.object({ path: z.array(z.union([z.string(), z.number()])) })) }).partial()
      .default({}),
  }),
});
const statusSchema = z.object({
  slices: z.record(z.string(), z.object({
    instances: z.array(z.object({
      state: z.string(), error: z.object({ code: z.string(), message: z.string() }).optional(),
    })),
  })),
});
const pageSchema = z.object({ entries: z.array(z.object({ key: z.string(), modRevision: z.number() })) });

let fleet: NodeFleet;
let pid: number;

beforeAll(async () => {
  fleet = await NodeFleet.create({ names: ["n1"] });
  await fleet.startAll();
  ({ pid } = fleet.process("n1"));
  const look = { effect: "read", handler: "() => 7" } as const;
  await pushSlice(fleet, { artifact: "demo:good:1.0.0", methods: { look } });
  await applySlices(fleet, { good: { artifact: "demo:good:1.0.0" } }, "good");
  await untilServed(fleet, "good/look");
  await pushRaw(sampleArchive({ artifact: "demo:ready:1.0.0", config: CONFIG }), "demo:ready:1.0.0");
  await pushRaw(sampleArchive({ artifact: "demo:first:1.0.0", loadAfter: ["second"] }), "demo:first:1.0.0");
  await pushRaw(sampleArchive({ artifact: "demo:second:1.0.0", loadAfter: ["first"] }), "demo:second:1.0.0");
  for (const group of ["one", "two"]) {
    await pushRaw(sampleArchive({ artifact: `${group}:twin:1.0.0` }), `${group}:twin:1.0.0`);
  }
  await pushRaw(sampleArchive({ artifact: "demo:user:1.0.0", uses: { t: { slice: "twin" } } }), "demo:user:1.0.0");
});

afterAll(() => fleet.close());

const CONFIG = { type: "object", properties: { currency: { type: "string" } }, required: ["currency"] };

function url(path: string): string {
  return `${fleet.api("n1")}/v1/${path}`;
}

async function pushRaw(raw: Uint8Array, artifact = SAMPLE.artifact): Promise<Answer> {
  return ask(url(`artifacts/${artifact}`), { method: "PUT", raw: new Uint8Array(raw) });
}

async function stored(): Promise<unknown> {
  const pages = await Promise.all(PREFIXES.map(async (prefix) =>
    pageSchema.parse((await ask(url(`kv?prefix=${prefix}&limit=1000`))).body)));
  return pages.flatMap(({ entries }) => entries.map(({ key, modRevision }) => `${key} ${modRevision}`));
}

/** Refused with one of the codes that say so, with these words in the path of an issue or in the message. */
async function expectRefused(send: () => Promise<Answer>, words: string): Promise<void> {
  const before = await stored();
  const answer = await send();
  const { error } = refusalSchema.parse(answer.body);
  expect(answer.status, JSON.stringify(error)).toBeGreaterThanOrEqual(400);
  expect(answer.status, JSON.stringify(error)).toBeLessThan(500);
  expect(REFUSALS).toContain(error.code);
  const places = (error.details.issues ?? []).map(({ path }) => path.join("."));
  expect([...places, error.message].join("\n")).toContain(words);
  expect(await stored()).toEqual(before);
  expect(await callOver(fleet, "n1", "good/look")).toMatchObject({ status: 200, output: 7 });
}

function cut(length: number): Uint8Array {
  return sampleArchive(SAMPLE).subarray(0, length);
}

function flipped(at: number): Uint8Array {
  const archive = Uint8Array.from(sampleArchive(SAMPLE));
  archive[at] = (archive[at] ?? 0) ^ 0x40;
  return archive;
}

/** An archive whose manifest is what nobody would write. */
function withManifest(changes: Readonly<Record<string, unknown>>): Uint8Array {
  const manifest = { ...sampleManifest(SAMPLE), ...changes } as Manifest;
  return encodeArchive(manifest, sampleBundle(SAMPLE));
}

function nested(depth: number): unknown {
  let schema: unknown = { type: "string" };
  for (let level = 0; level < depth; level++) schema = { items: schema };
  return schema;
}

const METHOD = { effect: "read", timeoutMs: 1_000, input: {}, output: {} };
const methods = (names: readonly string[]): unknown => Object.fromEntries(names.map((name) => [name, METHOD]));
const many = (count: number, name: string): readonly string[] => Array.from({ length: count }, (_, at) => name + at);

describe("an archive is refused", () => {
  test.each<[what: string, archive: () => Uint8Array, words: string]>([
    ["nothing", () => new Uint8Array(0), ""],
    ["garbage", () => Buffer.from("#!/bin/sh\nrm -rf /\n"), "not a slice archive"],
    ["cut in its header", () => cut(8), "not a slice archive"],
    ["cut in its manifest", () => cut(60), ""],
    ["cut by one byte", () => cut(sampleArchive(SAMPLE).byteLength - 1), ""],
    ["of another format", () => flipped(8), "format"],
    ["with a changed bundle", () => flipped(sampleArchive(SAMPLE).byteLength - 3), "digest"],
    ["with more behind it", () => Buffer.concat([sampleArchive(SAMPLE), Buffer.from("x")]), ""],
    ["an array bomb", () => Buffer.concat([cut(9), Buffer.of(0xdd, 0xff, 0xff, 0xff, 0xff)]), ""],
    ["no manifest", () => Buffer.concat([cut(9), encode([[], Buffer.from("x")])]), "manifest"],
    ["a manifest that is a list", () => Buffer.concat([cut(9), encode([[1], Buffer.from("x")])]), "manifest"],
    ["a bundle that is text", () => Buffer.concat([cut(9), encode([sampleManifest(SAMPLE), "x"])]), "bundle"],
  ])("that is %s", async (_what, archive, words) => {
    await expectRefused(() => pushRaw(archive()), words);
  });

  test("that is larger than the limit, before it is read", async () => {
    await expectRefused(() => pushRaw(new Uint8Array(65 * MiB)), "limit");
  });

  test.each([
    "../../etc/passwd", "..%2f..%2fetc", "demo:orders", "demo:orders:1.0.0:x", "demo:other:1.0.0", "a:__proto__:1",
  ])("that is pushed as %s", async (name) => {
    const before = await stored();
    const answer = await ask(url(`artifacts/${encodeURIComponent(name)}`), {
      method: "PUT", raw: new Uint8Array(sampleArchive(SAMPLE)),
    });
    expect([400, 404]).toContain(answer.status);
    expect(await stored()).toEqual(before);
  });
});

describe("a manifest is refused at the path of what is wrong", () => {
  test.each<[path: string, changes: Readonly<Record<string, unknown>>]>([
    ["format", { format: 2 }],
    ["format", { format: undefined }],
    ["artifact", { artifact: "demo:../../x:1.0.0" }],
    ["artifact", { artifact: "demo:orders:latest" }],
    ["slice", { slice: "../orders" }],
    ["slice", { slice: 7 }],
    ["methods", { methods: undefined }],
    ["methods", { methods: methods(many(101, "m")) }],
    ["limit", { methods: methods(many(6_000, "m")) }],
    ["methods.a/b", { methods: methods(["a/b"]) }],
    ["methods.ping.effect", { methods: { ping: { ...METHOD, effect: "none" } } }],
    ["methods.ping.timeoutMs", { methods: { ping: { ...METHOD, timeoutMs: -1 } } }],
    ["methods.ping.timeoutMs", { methods: { ping: { ...METHOD, timeoutMs: 2 ** 40 } } }],
    ["methods.ping.policy.retry.max", { methods: { ping: { ...METHOD, policy: { retry: { max: 1e9 } } } } }],
    ["methods.ping.policy.rateLimit", { methods: { ping: { ...METHOD, policy: { rateLimit: { perSecond: 0 } } } } }],
    ["methods.ping.policy.cache", {
      methods: { ping: { ...METHOD, effect: "write", policy: { cache: { ttlMs: 1, entriesMax: 1 } } } },
    }],
    ["methods.ping.input", { methods: { ping: { ...METHOD, input: "anything" } } }],
    ["methods.ping.output", { methods: { ping: { ...METHOD, output: nested(40) } } }],
    ["config", { config: nested(40) }],
    ["limit", { config: { description: "x".repeat(300_000) } }],
    ["uses.self", { uses: { self: { slice: "orders" } } }],
    ["uses.self", { uses: { self: { slice: "orders", artifact: "demo:orders@^1.0.0" } } }],
    ["uses", { uses: Object.fromEntries(many(101, "u").map((alias) => [alias, { slice: "good" }])) }],
    ["uses.good.slice", { uses: { good: { slice: "../good" } } }],
    ["uses.good.artifact", { uses: { good: { slice: "good", artifact: "demo:good@not a range" } } }],
    ["uses.good.artifact", { uses: { good: { slice: "good", artifact: `demo:good@${"||".repeat(40_000)}` } } }],
    ["loadAfter", { loadAfter: ["orders"] }],
    ["loadAfter", { loadAfter: ["../x"] }],
    ["loadAfter", { loadAfter: many(5_000, "s") }],
    ["routes", { routes: { "GET /v1/kv": "ping" } }],
    ["routes", { routes: { "GET /../../x": "ping" } }],
    ["routes", { routes: { "GET /a": "nothing" } }],
    ["routes", { routes: { "GET /a": "constructor" } }],
    ["routes", { routes: Object.fromEntries(many(500, "GET /r").map((route) => [route, "ping"])) }],
    ["on.paid", { on: { paid: "nothing" } }],
    ["on.paid", { on: { paid: "ping" } }],
    ["on", { on: { "../paid": "ping" } }],
    ["on", { on: Object.fromEntries(many(500, "t").map((topic) => [topic, "ping"])) }],
    ["sdkVersion", { sdkVersion: "9.0.0" }],
    ["sdkVersion", { sdkVersion: "0.2.0" }],
    ["sdkVersion", { sdkVersion: "latest" }],
    ["sdkVersion", { sdkVersion: "" }],
    ["sdkVersion", { sdkVersion: "1".repeat(50_000) }],
    ["digest", { digest: "0".repeat(64) }],
    ["digest", { digest: "../../../../etc/passwd" }],
    ["bundleBytes", { bundleBytes: 1 }],
    ["bundleBytes", { bundleBytes: -1 }],
  ])("%s %#", async (path, changes) => {
    await expectRefused(() => pushRaw(withManifest(changes)), path);
  });
});

describe("a blueprint is refused at the path of what is wrong", () => {
  const slice = { artifact: "demo:ready:1.0.0", config: { currency: "EUR" } };
  const ready = (changes: Readonly<Record<string, unknown>>): unknown =>
    ({ slices: { ready: { ...slice, ...changes } } });
  const all = (names: readonly string[]): unknown => Object.fromEntries(names.map((name) => [name, slice]));

  const TOO_MANY_STEPS = Array.from({ length: 100 }, (_, at) => at + 1);

  test.each<[path: string, document: unknown]>([
    ["", null],
    ["", []],
    ["", "slices"],
    ["slices", {}],
    ["slices", { slices: [slice] }],
    ["slices", { slices: all(many(41, "s")) }],
    ["slices", { slices: all(many(8_000, "s")) }],
    ["slices.../x", { slices: all(["../x"]) }],
    ["more", { slices: {}, more: 1 }],
    ["name", { name: "other", slices: {} }],
    ["slices.ready.artifact", ready({ artifact: "../../etc/passwd" })],
    ["slices.ready.artifact", ready({ artifact: "demo:nowhere@^1.0.0" })],
    ["slices.ready.artifact", ready({ artifact: "demo:ready@^9.0.0" })],
    ["slices.ready.artifact", ready({ artifact: `demo:ready@${"1.x ||".repeat(40)}` })],
    ["slices.ready.artifact", ready({ artifact: 7 })],
    ["slices.other", { slices: { other: slice } }],
    ["slices.ready.instances", ready({ instances: -1 })],
    ["slices.ready.instances", ready({ instances: 1_001 })],
    ["slices.ready.instances", ready({ instances: 1e300 })],
    ["slices.ready.minAvailable", ready({ minAvailable: 2 })],
    ["slices.ready.heapBytesMax", ready({ heapBytesMax: 1 })],
    ["slices.ready.concurrency", ready({ concurrency: 0 })],
    ["slices.ready.labels", ready({ labels: { "../x": "a" } })],
    ["slices.ready.variables", ready({ variables: { "A=B": "c" } })],
    ["slices.ready.variables", ready({ variables: { A: "x".repeat(10_000) } })],
    ["slices.ready.variables.NODE_OPTIONS", ready({ variables: { NODE_OPTIONS: "--require=/tmp/x.cjs" } })],
    ["slices.ready.config", ready({ config: {} })],
    ["slices.ready.config", ready({ config: { currency: 7 } })],
    ["slices.ready.config", ready({ config: undefined })],
    ["slices.ready.confg", ready({ confg: {} })],
    ["slices.ready.rollout", ready({ rollout: { strategy: "hope" } })],
    ["slices.ready.rollout.surge", ready({ rollout: { strategy: "rolling", surge: 1e9 } })],
    ["slices.ready.rollout.surge", ready({ rollout: { strategy: "rolling", surge: 0, unavailable: 0 } })],
    ["slices.ready.rollout.surge", ready({ rollout: { strategy: "rolling", surge: "half" } })],
    ["slices.ready.rollout.unavailable", ready({ rollout: { strategy: "rolling", unavailable: "200%" } })],
    ["slices.ready.rollout.unavailable", ready({ rollout: { strategy: "rolling", unavailable: -1 } })],
    ["slices.ready.rollout.bakeMs", ready({ rollout: { strategy: "blue-green", bakeMs: 1e12 } })],
    ["slices.ready.rollout.steps", ready({ rollout: { strategy: "canary", steps: [] } })],
    ["slices.ready.rollout.steps", ready({ rollout: { strategy: "canary", steps: [1, 50] } })],
    ["slices.ready.rollout.steps", ready({ rollout: { strategy: "canary", steps: [50, 50, 100] } })],
    ["slices.ready.rollout.steps", ready({ rollout: { strategy: "canary", steps: TOO_MANY_STEPS } })],
    ["slices.ready.rollout.steps", ready({ rollout: { strategy: "canary", steps: [0, 100] } })],
    ["slices.ready.rollout.stepMs", ready({ rollout: { strategy: "canary", stepMs: 999 } })],
    ["slices.ready.rollout.stepMs", ready({ rollout: { strategy: "canary", stepMs: 1e12 } })],
    ["slices.ready.rollout.minCalls", ready({ rollout: { strategy: "canary", minCalls: 0 } })],
    ["slices.ready.rollout.minCalls", ready({ rollout: { strategy: "canary", minCalls: "many" } })],
    ["slices.ready.rollout.errorRateMax", ready({ rollout: { strategy: "canary", errorRateMax: 1.5 } })],
    ["slices.ready.rollout.errorRateMax", ready({ rollout: { strategy: "canary", errorRateMax: -0.1 } })],
    ["slices.ready.rollout.p99MsMax", ready({ rollout: { strategy: "canary", p99MsMax: -1 } })],
    ["slices.ready.rollout", ready({ rollout: { strategy: "canary", surge: 1 } })],
    ["slices.good", { slices: { good: { artifact: "demo:good:1.0.0" } } }],
    ["slices.first.loadAfter", {
      slices: { first: { artifact: "demo:first:1.0.0" }, second: { artifact: "demo:second:1.0.0" } },
    }],
    ["slices.user.uses", { slices: { user: { artifact: "demo:user:1.0.0" } } }],
    ["limit", ready({ config: { currency: "x".repeat(300_000) } })],
    ["limit", ready({ config: { currency: "x".repeat(3 * MiB) } })],
  ])("%s %#", async (path, document) => {
    await expectRefused(() => ask(url("blueprints/bad"), { method: "PUT", body: document }), path);
  });

  test("or is no JSON, or deeper than anybody needs", async () => {
    for (const raw of ["{", "{\"slices\":", "[".repeat(100_000), `{"a":${"[".repeat(5_000)}${"]".repeat(5_000)}}`]) {
      await expectRefused(() => ask(url("blueprints/bad"), { method: "PUT", raw }), "");
    }
    const config = JSON.parse(`${"[".repeat(500)}${"]".repeat(500)}`) as unknown;
    await expectRefused(() => ask(url("blueprints/bad"), { method: "PUT", body: ready({ config }) }), "");
  });

  test("or has a name that is none", async () => {
    for (const name of ["..", "../shop", "a/b", "__proto__", "-", "x".repeat(300)]) {
      const before = await stored();
      const path = `blueprints/${encodeURIComponent(name)}`;
      const answer = await ask(url(path), { method: "PUT", body: ready({}) });
      expect([400, 404], name).toContain(answer.status);
      expect(await stored()).toEqual(before);
    }
  });
});

/** A slice that is all right but for the time that its method may take. */
function impatientSlice(timeoutMs: number): string {
  return `const any = { safeParse: (data) => ({ success: true, data }), safeParseAsync: async (data) => data };
    const ping = { input: any, output: any, effect: "read", timeoutMs: ${timeoutMs} };
    export default { contract: { name: "ping", methods: { ping } }, methods: { ping: () => "pong" } };`;
}

test("what passes and cannot run fails by itself: its row says why, and the node goes on", async () => {
  const broken: Readonly<Record<string, Sample>> = {
    syntax: { artifact: "demo:syntax:1.0.0", bundle: Buffer.from("export default {{{") },
    binary: { artifact: "demo:binary:1.0.0", bundle: Buffer.from([0, 1, 2, 0xff, 0xfe]) },
    impatient: { artifact: "demo:impatient:1.0.0", bundle: Buffer.from(impatientSlice(0.5)) },
    patient: { artifact: "demo:patient:1.0.0", bundle: Buffer.from(impatientSlice(Infinity)) },
    cycle: { artifact: "demo:cycle:1.0.0", config: { $ref: "#" } },
    slow: { artifact: "demo:slow:1.0.0", config: { type: "string", pattern: "^(a+)+$" } },
  };
  for (const [name, sample] of Object.entries(broken)) {
    expect(await pushRaw(sampleArchive(sample), sample.artifact)).toMatchObject({ status: 200 });
    const config = sample.config === undefined ? {} : { config: `${"a".repeat(40)}!` };
    const slices = { [name]: { artifact: sample.artifact, ...config } };
    expect(await ask(url(`blueprints/${name}`), { method: "PUT", body: { slices } })).toMatchObject({ status: 200 });
    const instance = await eventually(`${name} has failed`, async () => {
      const { slices: found } = statusSchema.parse((await ask(url(`blueprints/${name}/status`))).body);
      return found[name]?.instances.find(({ state }) => state === "FAILED");
    });
    expect(instance.error, name).toMatchObject({ code: expect.stringMatching(/^E_/), message: expect.any(String) });
    expect(await callOver(fleet, "n1", "good/look")).toMatchObject({ status: 200 });
    await ask(url(`blueprints/${name}`), { method: "DELETE" });
  }
  expect(fleet.process("n1")).toMatchObject({ isRunning: true, pid });
  expect(fleet.process("n1").logged("node.failed")).toEqual([]);
});
