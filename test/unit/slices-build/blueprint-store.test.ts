import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { present } from "../../../src/base/assert.ts";
import { parseArtifactId, parseNodeId } from "../../../src/base/ids.ts";
import { MiB } from "../../../src/base/units.ts";
import { formatKey, parseKey, prefixOf, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { Kv } from "../../../src/kvstore/kv.ts";
import type { Op } from "../../../src/kvstore/core/schema.ts";
import type { BlueprintInput } from "../../../src/sdk/blueprint.ts";
import { BlueprintStore } from "../../../src/slices/blueprints/blueprint-store.ts";
import type { Outlook } from "../../../src/slices/core/blueprint-status.ts";
import type { InstanceRow, InstanceRowState } from "../../../src/slices/core/instance-row.ts";
import { parseRouteRow, resolveRoutes } from "../../../src/slices/core/route-row.ts";
import type { RolloutStage } from "../../../src/slices/core/rollout-row.ts";
import { specDigestOf } from "../../../src/slices/core/spec-digest.ts";
import { parseTopicGroupRow } from "../../../src/slices/core/topic-row.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { sliceOf } from "../../support/cluster-rows.ts";
import { heldKv } from "../../support/interleaved-kv.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { sampleArchive, sampleManifest, type Sample } from "./sample-artifacts.ts";

const clock = { wallMs: () => 1_700_000_000_000 };
let local: LocalKv;
let blueprints: BlueprintStore;
beforeEach(async () => {
  local = await createLocalKv();
  blueprints = storeOn(local.kv);
});
afterEach(() => local.close());

let outlook: Outlook = { unplaced: [], waiting: [] };

function storeOn(kv: Kv): BlueprintStore {
  return new BlueprintStore({ kv, artifacts: new ArtifactRepository({ kv, clock }), outlook: () => outlook });
}

async function write(key: KeyText, value: unknown): Promise<void> {
  await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
}

async function writeInstance(node: string, artifact: string, instance: number, value: unknown): Promise<void> {
  const place = { node: parseNodeId(node), artifact: parseArtifactId(artifact), instance };
  await write(formatKey({ kind: "slice", ...place }), value);
}

async function remove(key: KeyText): Promise<void> {
  await local.kv.transact({ compare: [], then: [{ kind: "delete", key }], else: [] });
}

/** What a blueprint that says nothing of it allows an instance. */
const BOUNDS = { heapBytesMax: 128 * MiB, concurrency: 64 };

const revisionKey = (revision: number) => formatKey({ kind: "blueprint", name: "shop", revision });

function instanceRow(state: InstanceRowState, more: Partial<InstanceRow> = {}): InstanceRow {
  const life = { revision: 1, generation: 1, sinceMs: 1_700_000_000_000, attempt: 1 };
  return { state, slice: "orders", blueprint: "shop", ...life, ...more };
}

function rolloutRow(stage: RolloutStage, revisions: { readonly target: number; readonly previous: number }) {
  const version = (revision: number, variables: Record<string, string>) => ({
    artifact: "demo:orders:1.0.0", revision, specDigest: specDigestOf(sliceOf("orders", 1, { ...BOUNDS, variables })),
  });
  return {
    strategy: "rolling", stage, sinceMs: 1_700_000_000_000, reason: "start threw",
    target: version(revisions.target, { CURRENCY: "EUR" }), previous: version(revisions.previous, {}),
  };
}

async function push(...samples: readonly Sample[]): Promise<void> {
  const repository = new ArtifactRepository({ kv: local.kv, clock });
  for (const sample of samples) await repository.push(sampleArchive(sample));
}

const orders = (changes: object = {}): BlueprintInput =>
  ({ slices: { orders: { artifact: "demo:orders@^1.0.0", ...changes } } });

/** A store in which somebody else writes between what a caller read and what it writes. */
function interrupted(kv: Kv, interrupt: (attempt: number) => Promise<unknown>): Kv {
  let attempt = 0;
  return heldKv(kv, () => interrupt(++attempt));
}

describe("applying a blueprint", () => {
  test("stores a resolved revision and points to it (B1)", async () => {
    await push({ artifact: "demo:orders:1.0.0" }, { artifact: "demo:orders:1.1.0" });
    expect(await blueprints.apply("shop", orders({ instances: 2 }))).toEqual({ name: "shop", revision: 1 });
    expect(await blueprints.get("shop")).toMatchObject({
      name: "shop", revision: 1, slices: { orders: { artifact: "demo:orders:1.1.0", instances: 2 } },
    });
    expect(await blueprints.list()).toEqual([{ name: "shop", revision: 1 }]);
  });

  test("counts revisions up with every change, and not without one", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    expect((await blueprints.apply("shop", orders())).revision).toBe(1);
    expect((await blueprints.apply("shop", orders())).revision).toBe(1);
    expect((await blueprints.apply("shop", orders({ instances: 2 }))).revision).toBe(2);
    expect((await blueprints.apply("shop", orders({ instances: 2, labels: {} }))).revision).toBe(2);
    await push({ artifact: "demo:orders:1.0.1" });
    expect((await blueprints.apply("shop", orders({ instances: 2 }))).revision).toBe(3);
  });

  test("refuses a slice whose instances' rows would be too large, naming it", async () => {
    await push({ artifact: "demo:orders:1.0.0", config: { type: "object" } });
    const large = orders({ config: { text: "x".repeat(300_000) } });
    await expect(blueprints.apply("shop", large)).rejects.toMatchObject({
      code: "E_TOO_LARGE", details: { slice: "orders", limit: 262_144 },
    });
    await expect(blueprints.get("shop")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("refuses what is no blueprint, with the place, and writes nothing", async () => {
    const revision = local.kv.revision;
    const documents: [string, unknown][] = [
      ["shop", "slices"],
      ["shop", { slices: { orders: {} } }],
      ["a/b", orders()],
      ["shop", { name: "pos", ...orders() }],
      ["shop", orders()],
    ];
    for (const [name, document] of documents) {
      await expect(blueprints.apply(name, document)).rejects.toMatchObject({ code: "E_INVALID" });
    }
    expect(local.kv.revision).toBe(revision);
  });

  test("refuses a slice of another blueprint and names the owner (B3)", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    await blueprints.apply("shop", orders());
    await expect(blueprints.apply("other", orders())).rejects.toMatchObject({
      code: "E_CONFLICT", details: { slice: "orders", owner: "shop" },
    });
    expect(await blueprints.list()).toEqual([{ name: "shop", revision: 1 }]);
  });

  test("frees the slices that it drops", async () => {
    await push({ artifact: "demo:orders:1.0.0" }, { artifact: "demo:pricing:1.0.0" });
    await blueprints.apply("shop", { slices: { ...orders().slices, pricing: { artifact: "demo:pricing@1" } } });
    await blueprints.apply("shop", { slices: { pricing: { artifact: "demo:pricing@1" } } });
    expect((await blueprints.apply("other", orders())).revision).toBe(1);
  });

  test("of one slice by two blueprints at once lets one win (B3)", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    const outcomes = await Promise.allSettled(["a", "b", "c", "d"].map((name) => blueprints.apply(name, orders())));
    expect(outcomes.filter((outcome) => outcome.status === "fulfilled").length).toBe(1);
    expect((await blueprints.list()).length).toBe(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "E_CONFLICT" });
    }
  });

  test("several times at once gives each its own revision", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    const applied = await Promise.all([1, 2, 3].map((instances) => blueprints.apply("shop", orders({ instances }))));
    expect(applied.map(({ revision }) => revision).sort()).toEqual([1, 2, 3]);
    expect((await blueprints.get("shop")).revision).toBe(3);
  });

  test("reads again when somebody else was faster, and gives up when that never ends", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    const once = storeOn(interrupted(local.kv, async (attempt) => {
      if (attempt === 1) await blueprints.apply("shop", orders({ instances: 7 }));
    }));
    expect(await once.apply("shop", orders({ instances: 2 }))).toEqual({ name: "shop", revision: 2 });
    const fight = (attempt: number) => blueprints.apply("shop", orders({ instances: 10 + attempt }));
    const always = storeOn(interrupted(local.kv, fight));
    await expect(always.apply("shop", orders({ instances: 3 }))).rejects.toMatchObject({ code: "E_CONFLICT" });
  });

  test("keeps the last twenty revisions", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    for (let instances = 1; instances <= 25; instances++) await blueprints.apply("shop", orders({ instances }));
    const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "blueprints" }) });
    expect(entries.length).toBe(21);
    expect(entries[0]?.key).toBe(formatKey({ kind: "blueprint", name: "shop", revision: 6 }));
    expect((await blueprints.get("shop")).slices["orders"]?.instances).toBe(25);
  });

  test("keeps an older revision for as long as an instance is made from it (B4)", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    await blueprints.apply("shop", orders({ instances: 1 }));
    await writeInstance("n1", "demo:orders:1.0.0", 0, instanceRow("ACTIVE", { revision: 1 }));
    await writeInstance("n2", "demo:orders:1.0.0", 1, instanceRow("ACTIVE", { revision: 3 }));
    await writeInstance("n3", "demo:orders:1.0.0", 2, instanceRow("ACTIVE", { revision: 2, blueprint: "other" }));
    for (let instances = 2; instances <= 25; instances++) await blueprints.apply("shop", orders({ instances }));
    expect(await keptRevisions()).toEqual([1, 3, ...Array.from({ length: 20 }, (_, index) => index + 6)]);
    await writeInstance("n1", "demo:orders:1.0.0", 0, instanceRow("ACTIVE", { revision: 25 }));
    await blueprints.apply("shop", orders({ instances: 26 }));
    expect(await keptRevisions()).toEqual([3, ...Array.from({ length: 20 }, (_, index) => index + 7)]);
  });

  test("keeps the revisions that a rollout names (B4), and all of them while a rollout cannot be read", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    const key = formatKey({ kind: "rollout", blueprint: "shop", slice: "orders" });
    const applyUpTo = async (from: number, to: number): Promise<void> => {
      for (let instances = from; instances <= to; instances++) await blueprints.apply("shop", orders({ instances }));
    };
    await applyUpTo(1, 2);
    await write(key, rolloutRow("rolled-back", { target: 2, previous: 1 }));
    await applyUpTo(3, 25);
    expect(await keptRevisions()).toEqual([1, 2, ...Array.from({ length: 20 }, (_, index) => index + 6)]);
    await write(key, { stage: "strange" });
    await applyUpTo(26, 27);
    expect((await keptRevisions()).slice(0, 3)).toEqual([1, 2, 6]);
    await remove(key);
    await applyUpTo(28, 28);
    expect((await keptRevisions())[0]).toBe(9);
  });

  test("is refused when an artifact goes while it is under way", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    const key = formatKey({ kind: "artifact", artifact: parseArtifactId("demo:orders:1.0.0") });
    const late = storeOn(interrupted(local.kv, () => remove(key)));
    await expect(late.apply("shop", orders())).rejects.toMatchObject({ code: "E_INVALID" });
    expect(await blueprints.list()).toEqual([]);
  });

  test("refuses more artifacts than one transaction can guard", async () => {
    const used = (slice: string, index: number) => `${slice}u${index}`;
    const names = Array.from({ length: 20 }, (_, index) => `s${index}`);
    for (const name of names) {
      const aliases = [0, 1, 2, 3, 4].map((index) => used(name, index));
      await push(...aliases.map((slice) => ({ artifact: `demo:${slice}:1.0.0` })));
      await push({
        artifact: `demo:${name}:1.0.0`,
        uses: Object.fromEntries(aliases.map((slice) => [slice, { slice, artifact: `demo:${slice}@1` }])),
      });
    }
    const document = { slices: Object.fromEntries(names.map((name) => [name, { artifact: `demo:${name}@1` }])) };
    await expect(blueprints.apply("shop", document)).rejects.toMatchObject({
      code: "E_TOO_LARGE", details: { limit: 120, actual: 140 },
    });
  });

  test("may replace as many slices at once as a blueprint can have", async () => {
    const slicesOf = (letter: string) => Array.from({ length: 40 }, (_, index) => `${letter}${index}`);
    const documentOf = (letter: string): BlueprintInput => ({
      slices: Object.fromEntries(slicesOf(letter).map((name) => [name, { artifact: `demo:${name}@1` }])),
    });
    await push(...[...slicesOf("a"), ...slicesOf("b")].map((name) => ({ artifact: `demo:${name}:1.0.0` })));
    for (let revision = 1; revision <= 21; revision++) {
      expect((await blueprints.apply("shop", documentOf(revision % 2 === 0 ? "a" : "b"))).revision).toBe(revision);
    }
  });

  test("finds what it uses where another blueprint runs it", async () => {
    const uses = { pricing: { slice: "pricing", artifact: "demo:pricing@^1.0.0" } };
    await push({ artifact: "demo:orders:1.0.0", uses });
    await push({ artifact: "demo:pricing:1.0.0" }, { artifact: "demo:pricing:1.1.0" });
    await blueprints.apply("prices", { slices: { pricing: { artifact: "demo:pricing:1.0.0" } } });
    await blueprints.apply("shop", orders());
    const { slices } = await blueprints.get("shop");
    expect(slices["orders"]?.uses).toEqual({
      pricing: { slice: "pricing", artifact: "demo:pricing:1.0.0", range: "^1.0.0" },
    });
  });
});

describe("HTTP routes", () => {
  const only = (slice: string, range = "1"): BlueprintInput =>
    ({ slices: { [slice]: { artifact: `demo:${slice}@${range}` } } });
  const together = (documents: readonly BlueprintInput[]): BlueprintInput =>
    ({ slices: Object.fromEntries(documents.flatMap(({ slices }) => Object.entries(slices))) });
  const routes = (...texts: readonly string[]) => Object.fromEntries(texts.map((text) => [text, "ping"]));

  async function rows(): Promise<readonly string[]> {
    const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "routes" }) });
    return entries.map(({ value }) => {
      const { route, slice, blueprint } = parseRouteRow(value);
      return `${blueprint}/${slice} ${route}`;
    });
  }

  test("are taken with a blueprint, follow its revisions and go with it", async () => {
    await push(
      { artifact: "demo:orders:1.0.0", routes: routes("GET /a", "GET /b/:id") },
      { artifact: "demo:orders:1.1.0", routes: routes("GET /b/:order", "GET /c") },
    );
    await blueprints.apply("shop", only("orders", "1.0.0"));
    expect(await rows()).toEqual(["shop/orders GET /a", "shop/orders GET /b/:id"]);
    await blueprints.apply("shop", only("orders", "1.1.0"));
    expect(await rows()).toEqual(["shop/orders GET /b/:order", "shop/orders GET /c"]);
    await blueprints.rollback("shop");
    expect(await rows()).toEqual(["shop/orders GET /a", "shop/orders GET /b/:id"]);
    await blueprints.delete("shop");
    expect(await rows()).toEqual([]);
  });

  test("of another blueprint are refused with both slices, and nothing is written", async () => {
    await push(
      { artifact: "demo:orders:1.0.0", routes: routes("GET /a/:id") },
      { artifact: "demo:bills:1.0.0", routes: routes("GET /a/:bill", "GET /bills") },
      { artifact: "demo:free:1.0.0", routes: routes("GET /a/new") },
    );
    await blueprints.apply("shop", only("orders"));
    const before = local.kv.revision;
    await expect(blueprints.apply("office", only("bills"))).rejects.toMatchObject({
      code: "E_CONFLICT",
      message: expect.stringMatching(/slice "bills".*"GET \/a\/:bill".*slice "orders" of blueprint "shop"/) as unknown,
      details: { route: "GET /a/:bill", slice: "bills", owner: "shop", ownerSlice: "orders" },
    });
    expect(local.kv.revision).toBe(before);
    await blueprints.apply("more", only("free"));
    await blueprints.delete("shop");
    await blueprints.apply("office", only("bills"));
    expect(await rows()).toEqual(["office/bills GET /a/:bill", "more/free GET /a/new", "office/bills GET /bills"]);
    await blueprints.delete("office");
    expect(await rows()).toEqual(["more/free GET /a/new"]);
  });

  test("of two slices of one blueprint are refused with both slices", async () => {
    await push(
      { artifact: "demo:orders:1.0.0", routes: routes("GET /a/:id") },
      { artifact: "demo:bills:1.0.0", routes: routes("GET /a/:bill") },
    );
    await expect(blueprints.apply("shop", together([only("orders"), only("bills")]))).rejects.toMatchObject({
      code: "E_INVALID",
      details: { issues: [{
        path: ["slices", "bills", "routes", "GET /a/:bill"],
        message: 'the slice "orders" has this route already',
      }] },
    });
    expect(await rows()).toEqual([]);
  });

  test("taken by several blueprints at once belong to one", async () => {
    const names = ["a", "b", "c", "d"];
    await push(...names.map((name) => ({ artifact: `demo:${name}:1.0.0`, routes: routes("GET /x") })));
    const outcomes = await Promise.allSettled(names.map((name) => blueprints.apply(name, only(name))));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "E_CONFLICT" });
    }
    expect(await rows()).toHaveLength(1);
  });

  test("count as names of a blueprint", async () => {
    const names = Array.from({ length: 8 }, (_, index) => `s${index}`);
    await push(...names.map((name) => ({
      artifact: `demo:${name}:1.0.0`,
      routes: routes(...Array.from({ length: 16 }, (_, index) => `GET /${name}/${index}`)),
    })));
    const some = (count: number) => together(names.slice(0, count).map((name) => only(name)));
    await expect(blueprints.apply("shop", some(7))).rejects.toMatchObject({
      code: "E_TOO_LARGE", details: { limit: 120, actual: 126 },
    });
    await blueprints.apply("shop", some(6));
    expect(await rows()).toHaveLength(96);
    await blueprints.delete("shop");
    expect(await rows()).toEqual([]);
  });

  test("that go and come at once, more than a transaction has room for, are changed in two steps", async () => {
    const many = (letter: string) => routes(...Array.from({ length: 16 }, (_, index) => `GET /${letter}/${index}`));
    const groups = ["a", "b", "c", "d", "e"];
    await push(...groups.flatMap((name) => [
      { artifact: `demo:${name}:1.0.0`, routes: many(name) },
      { artifact: `demo:${name}:2.0.0`, routes: many(`${name}2`) },
    ]));
    const all = (range: string, count = 5) => together(groups.slice(0, count).map((name) => only(name, range)));
    await blueprints.apply("shop", all("1"));
    await expect(blueprints.apply("shop", all("2"))).rejects.toMatchObject({ code: "E_TOO_LARGE" });
    expect((await rows()).every((row) => !row.includes("2/"))).toBe(true);
    await blueprints.apply("shop", all("1", 1));
    await blueprints.apply("shop", all("2"));
    expect(await rows()).toHaveLength(80);
  });

  test("know which fields of their requests are numbers and booleans", async () => {
    const input = { type: "object", properties: {
      id: { type: "string" }, full: { type: "boolean" },
      page: { type: "integer", default: 1 }, price: { type: "number" },
      either: { anyOf: [{ type: "string" }, { type: "number" }] },
    } };
    const manifest = sampleManifest({ artifact: "demo:orders:1.0.0", routes: routes("GET /a/:id", "PUT /a/:page") });
    const methods = { ping: { effect: "read" as const, timeoutMs: 1_000, input, output: {} } };
    expect(resolveRoutes({ ...manifest, methods })).toEqual([
      { route: "GET /a/:id", method: "ping", numbers: ["page", "price"], booleans: ["full"] },
      { route: "PUT /a/:page", method: "ping", numbers: ["page"], booleans: [] },
    ]);
  });
});

describe("deleting a blueprint", () => {
  test("frees its slices, and its next revision has a new number (B2)", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    await blueprints.apply("shop", orders());
    await blueprints.apply("shop", orders({ instances: 2 }));
    expect(await blueprints.delete("shop")).toEqual({ name: "shop", revision: 2 });
    expect(await blueprints.list()).toEqual([]);
    await expect(blueprints.get("shop")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await expect(blueprints.delete("shop")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await blueprints.apply("other", orders());
    await blueprints.delete("other");
    expect(await blueprints.apply("shop", orders({ instances: 2 }))).toEqual({ name: "shop", revision: 3 });
  });

  test("leaves what a newer revision took over", async () => {
    await push({ artifact: "demo:orders:1.0.0" }, { artifact: "demo:pricing:1.0.0" });
    await blueprints.apply("shop", orders());
    const slow = storeOn(interrupted(local.kv, async (attempt) => {
      if (attempt > 1) return;
      await blueprints.apply("shop", { slices: { pricing: { artifact: "demo:pricing@1" } } });
      await blueprints.apply("other", orders());
    }));
    await slow.delete("shop");
    // The slice that moved to another blueprint meanwhile still belongs to it.
    await expect(blueprints.apply("third", orders())).rejects.toMatchObject({ details: { owner: "other" } });
  });
});

async function keptRevisions(): Promise<readonly number[]> {
  const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "blueprints", name: "shop" }) });
  return entries.flatMap(({ key }) => {
    const parsed = parseKey(key);
    return parsed.kind === "blueprint" ? parsed.revision : [];
  });
}

describe("rolling back", () => {
  const instances = async () => (await blueprints.get("shop")).slices["orders"]?.instances;

  beforeEach(async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    for (const count of [1, 2, 3]) await blueprints.apply("shop", orders({ instances: count }));
  });

  test("makes the revision before the current one a new one; again, it goes back and forth", async () => {
    expect(await blueprints.rollback("shop")).toEqual({ name: "shop", revision: 4, rolledBackTo: 2 });
    expect(await instances()).toBe(2);
    expect(await blueprints.rollback("shop")).toEqual({ name: "shop", revision: 5, rolledBackTo: 3 });
    expect(await instances()).toBe(3);
  });

  test("to a revision by its number keeps its exact artifacts, whatever was pushed since", async () => {
    await push({ artifact: "demo:orders:1.1.0" });
    await blueprints.apply("shop", orders({ instances: 1 }));
    expect((await blueprints.get("shop")).slices["orders"]?.artifact).toBe("demo:orders:1.1.0");
    expect(await blueprints.rollback("shop", 1)).toEqual({ name: "shop", revision: 5, rolledBackTo: 1 });
    const { orders: back } = (await blueprints.get("shop")).slices;
    expect(back).toMatchObject({ artifact: "demo:orders:1.0.0", instances: 1 });
    expect(await blueprints.rollback("shop", 1)).toEqual({ name: "shop", revision: 5, rolledBackTo: 1 });
  });

  test("to what is not there any more is refused, and says what is", async () => {
    await expect(blueprints.rollback("shop", 9)).rejects.toMatchObject({
      code: "E_NOT_FOUND", details: { revisions: [1, 2, 3] },
    });
    await expect(blueprints.rollback("other")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    const artifact = parseArtifactId("demo:orders:1.0.0");
    await remove(formatKey({ kind: "artifact", artifact }));
    await expect(blueprints.rollback("shop")).rejects.toMatchObject({ code: "E_NOT_FOUND", details: { artifact } });
  });

  test("where there is nothing to go back to is refused", async () => {
    await push({ artifact: "demo:pricing:1.0.0" });
    await blueprints.apply("prices", { slices: { pricing: { artifact: "demo:pricing@1" } } });
    await expect(blueprints.rollback("prices")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("takes its slices back, and is refused when another blueprint has one of them now (B3)", async () => {
    await push({ artifact: "demo:pricing:1.0.0" });
    await blueprints.apply("shop", { slices: { pricing: { artifact: "demo:pricing@1" } } });
    await blueprints.apply("other", orders());
    const taken = { code: "E_CONFLICT", details: { owner: "other" } };
    await expect(blueprints.rollback("shop")).rejects.toMatchObject(taken);
    await blueprints.delete("other");
    expect(await blueprints.rollback("shop")).toMatchObject({ revision: 5, rolledBackTo: 3 });
    await expect(blueprints.apply("other", orders())).rejects.toMatchObject({ details: { owner: "shop" } });
    await blueprints.apply("other", { slices: { pricing: { artifact: "demo:pricing@1" } } });
  });

  test("reads again when somebody else was faster", async () => {
    const once = storeOn(interrupted(local.kv, async (attempt) => {
      if (attempt === 1) await blueprints.apply("shop", orders({ instances: 7 }));
    }));
    expect(await once.rollback("shop")).toEqual({ name: "shop", revision: 5, rolledBackTo: 3 });
  });
});

describe("a blueprint that cannot be read", () => {
  const damages: readonly [string, () => Promise<unknown>][] = [
    ["its revision is damaged", () => write(revisionKey(2), { name: "shop", revision: 2, slices: { orders: 7 } })],
    ["its revision is missing", () => remove(revisionKey(2))],
    ["what points to it is damaged", () =>
      write(formatKey({ kind: "blueprint-current", name: "shop" }), { revision: 0 })],
  ];

  test.each(damages)("says so, and can be applied again or rolled back: %s", async (_what, damage) => {
    await push({ artifact: "demo:orders:1.0.0" });
    await blueprints.apply("shop", orders());
    await blueprints.apply("shop", orders({ instances: 2 }));
    await damage();
    const answers = [blueprints.get("shop"), blueprints.status("shop")];
    for (const answer of await Promise.allSettled(answers)) {
      expect(answer).toMatchObject({ status: "rejected", reason: { code: "E_DATA_CORRUPT", outcome: undefined } });
    }
    expect((await blueprints.rollback("shop", 1)).rolledBackTo).toBe(1);
    expect((await blueprints.status("shop")).slices["orders"]?.want).toBe(1);
    const healed = await blueprints.get("shop");
    await damage();
    expect((await blueprints.apply("shop", orders({ instances: 4 }))).revision).toBeGreaterThan(healed.revision);
    expect((await blueprints.get("shop")).slices["orders"]?.instances).toBe(4);
  });

  test.each(damages)("can be deleted, which frees its slices and no others: %s (B2, B3)", async (_what, damage) => {
    await push({ artifact: "demo:orders:1.0.0" }, { artifact: "demo:pricing:1.0.0" });
    await blueprints.apply("till", { slices: { pricing: { artifact: "demo:pricing@1" } } });
    await blueprints.apply("shop", orders());
    await blueprints.apply("shop", orders({ instances: 2 }));
    await writeInstance("n1", "demo:orders:1.0.0", 0, instanceRow("ACTIVE", { revision: 2 }));
    await damage();
    expect(await blueprints.delete("shop")).toEqual({ name: "shop", revision: 2 });
    expect(await blueprints.list()).toEqual([{ name: "till", revision: 1 }]);
    expect([await blueprints.ownerOf("orders"), await blueprints.ownerOf("pricing")]).toEqual([undefined, "till"]);
    await expect(blueprints.delete("shop")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    // Its instance still goes: it must not look as if it were one of the new revision.
    expect(await blueprints.apply("shop", orders())).toEqual({ name: "shop", revision: 3 });
  });
});

test("what a damaged revision had besides is free once the blueprint is applied again (B3)", async () => {
  await push({ artifact: "demo:orders:1.0.0" }, { artifact: "demo:pricing:1.0.0" });
  await blueprints.apply("shop", { slices: { ...orders().slices, pricing: { artifact: "demo:pricing@1" } } });
  await write(revisionKey(1), "garbage");
  await blueprints.apply("shop", orders());
  await blueprints.apply("till", { slices: { pricing: { artifact: "demo:pricing@1" } } });
  expect(await blueprints.ownerOf("pricing")).toBe("till");
});

test("a slice whose owner cannot be read goes to the blueprint that is applied with it next (B3)", async () => {
  await push({ artifact: "demo:orders:1.0.0" });
  await write(formatKey({ kind: "slice-owner", slice: "orders" }), "garbage");
  await blueprints.apply("shop", orders());
  expect(await blueprints.ownerOf("orders")).toBe("shop");
});

test("one blueprint or artifact that cannot be read hides no other, and hinders none", async () => {
  await push({ artifact: "demo:orders:1.0.0" }, { artifact: "demo:pricing:1.0.0" }, { artifact: "demo:extra:1.0.0" });
  await blueprints.apply("shop", orders());
  await write(formatKey({ kind: "blueprint-current", name: "shop" }), { revision: 0 });
  await write(formatKey({ kind: "artifact", artifact: parseArtifactId("demo:extra:1.0.0") }), "garbage");
  await blueprints.apply("till", { slices: { pricing: { artifact: "demo:pricing@^1.0.0" } } });
  expect(await blueprints.list()).toEqual([
    { name: "shop", damage: expect.stringContaining("cannot be read") },
    { name: "till", revision: 1 },
  ]);
  await expect(blueprints.apply("more", { slices: { extra: { artifact: "demo:extra@^1.0.0" } } }))
    .rejects.toMatchObject({ code: "E_INVALID" });
});

describe("the status of a blueprint", () => {
  test("says how the rollout of what is wanted stands, and nothing of those before", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    const rolloutOf = async () => (await blueprints.status("shop")).slices["orders"]?.rollout;
    const key = formatKey({ kind: "rollout", blueprint: "shop", slice: "orders" });
    const next = orders({ variables: { CURRENCY: "EUR" } });
    await blueprints.apply("shop", orders());
    await write(key, rolloutRow("rolled-back", { target: 2, previous: 1 }));
    expect(await rolloutOf()).toBeUndefined();
    await blueprints.apply("shop", next);
    const wait = { what: "turn", message: "its turn", isLate: true } as const;
    outlook = { unplaced: [], waiting: [{ blueprint: "shop", slice: "orders", wait }] };
    await write(key, rolloutRow("shifting", { target: 2, previous: 1 }));
    expect(await rolloutOf()).toMatchObject({ waitsFor: wait });
    // What is over waits for nothing.
    await write(key, rolloutRow("rolled-back", { target: 2, previous: 1 }));
    expect(await rolloutOf()).toEqual({
      strategy: "rolling", stage: "rolled-back", reason: "start threw", since: 1_700_000_000_000,
      from: { artifact: "demo:orders:1.0.0", revision: 1 }, to: { artifact: "demo:orders:1.0.0", revision: 2 },
    });
    // More of the same is the same wish; the same after something else is another one.
    await blueprints.apply("shop", orders({ variables: { CURRENCY: "EUR" }, instances: 2 }));
    expect(await rolloutOf()).toMatchObject({ stage: "rolled-back" });
    await blueprints.apply("shop", orders());
    await blueprints.apply("shop", next);
    expect(await rolloutOf()).toBeUndefined();
    await write(key, { stage: "strange" });
    expect(await rolloutOf()).toBeUndefined();
  });

  test("compares what is wanted with the rows of the instances", async () => {
    await push({ artifact: "demo:orders:1.0.0" }, { artifact: "demo:orders:1.1.0" });
    await blueprints.apply("shop", orders({ instances: 3 }));
    const { orders: wanted } = (await blueprints.get("shop")).slices;
    const specDigest = specDigestOf(present(wanted, "the blueprint has the slice"));
    const sinceMs = 1_700_000_000_000;
    const row = (state: InstanceRowState, more: Partial<InstanceRow> = {}): InstanceRow =>
      instanceRow(state, { specDigest, ...more });
    const error = { code: "E_INVALID", message: "bad config", fatal: true };
    await writeInstance("n1", "demo:orders:1.1.0", 0, row("ACTIVE"));
    await writeInstance("n2", "demo:orders:1.1.0", 1, row("FAILED", { error }));
    await writeInstance("n2", "demo:orders:1.0.0", 0, row("ACTIVE", { revision: 1 }));
    await writeInstance("n3", "demo:pricing:1.0.0", 0, row("UNLOAD", { slice: "pricing" }));
    await writeInstance("n3", "demo:orders:1.1.0", 2, row("ACTIVE", { blueprint: "somebody-else" }));
    expect(await blueprints.status("shop")).toEqual({
      name: "shop",
      revision: 1,
      slices: {
        orders: {
          artifact: "demo:orders:1.1.0",
          want: 3,
          active: 1,
          instances: [
            { node: "n1", instance: 0, artifact: "demo:orders:1.1.0", state: "ACTIVE", since: sinceMs },
            { node: "n2", instance: 0, artifact: "demo:orders:1.0.0", state: "ACTIVE", since: sinceMs },
            { node: "n2", instance: 1, artifact: "demo:orders:1.1.0", state: "FAILED", since: sinceMs, error },
          ],
        },
        pricing: {
          artifact: "demo:pricing:1.0.0",
          want: 0,
          active: 0,
          instances: [{ node: "n3", instance: 0, artifact: "demo:pricing:1.0.0", state: "UNLOAD", since: sinceMs }],
        },
      },
    });
  });

  test("of one that does not exist says so", async () => {
    await expect(blueprints.status("nope")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("counts an instance with an earlier config as one that is still to be replaced", async () => {
    await push({ artifact: "demo:orders:1.0.0", config: { type: "object" } });
    await blueprints.apply("shop", orders({ config: { currency: "EUR" } }));
    const { orders: wanted } = (await blueprints.get("shop")).slices;
    const before = specDigestOf(present(wanted, "the blueprint has the slice"));
    await writeInstance("n1", "demo:orders:1.0.0", 0, instanceRow("ACTIVE", { specDigest: before }));
    expect((await blueprints.status("shop")).slices["orders"]).toMatchObject({ want: 1, active: 1 });
    await blueprints.apply("shop", orders({ config: { currency: "USD" } }));
    expect((await blueprints.status("shop")).slices["orders"]).toMatchObject({ want: 1, active: 0 });
  });

  test("shows an instance whose row is damaged with the slice of its artifact, and all others", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    await blueprints.apply("shop", orders());
    await writeInstance("n1", "demo:orders:1.0.0", 0, { state: "SLEEPING" });
    await writeInstance("n1", "demo:pricing:1.0.0", 0, { state: "SLEEPING" });
    await writeInstance("n2", "demo:orders:1.0.0", 1, instanceRow("LOADING"));
    const { slices } = await blueprints.status("shop");
    expect(Object.keys(slices)).toEqual(["orders"]);
    expect(slices["orders"]?.instances.map(({ node, state }) => `${node} ${state}`)).toEqual([
      "n1 UNREADABLE", "n2 LOADING",
    ]);
  });

  test("says what a slice is loaded after and waits for, until that serves or is not wanted", async () => {
    await push({ artifact: "demo:orders:1.0.0", loadAfter: ["pricing"] }, { artifact: "demo:pricing:1.0.0" });
    const wanted = (instances: number): BlueprintInput =>
      ({ slices: { ...orders().slices, pricing: { artifact: "demo:pricing@1", instances } } });
    const waitsFor = async () => (await blueprints.status("shop")).slices["orders"]?.waitsFor;
    await blueprints.apply("shop", wanted(1));
    expect(await waitsFor()).toEqual(["pricing"]);
    await writeInstance("n1", "demo:pricing:1.0.0", 0, instanceRow("LOADED", { slice: "pricing" }));
    expect(await waitsFor()).toEqual(["pricing"]);
    await writeInstance("n1", "demo:pricing:1.0.0", 0, instanceRow("ACTIVE", { slice: "pricing" }));
    expect(await waitsFor()).toBeUndefined();
    await writeInstance("n1", "demo:pricing:1.0.0", 0, instanceRow("FAILED", { slice: "pricing" }));
    await blueprints.apply("shop", wanted(0));
    expect(await waitsFor()).toBeUndefined();
  });

  test("says what no node may have, and why", async () => {
    await push({ artifact: "demo:orders:1.0.0" });
    await blueprints.apply("shop", orders({ instances: 3 }));
    outlook = {
      waiting: [],
      unplaced: [
        { blueprint: "shop", slice: "orders", count: 2, reason: "capacity" },
        { blueprint: "other", slice: "orders", count: 9, reason: "labels" },
      ],
    };
    const { slices } = await blueprints.status("shop");
    outlook = { unplaced: [], waiting: [] };
    expect(slices["orders"]?.unplaced).toEqual({ count: 2, reason: "capacity" });
    expect((await blueprints.status("shop")).slices["orders"]?.unplaced).toBeUndefined();
  });
});

describe("topics", () => {
  const only = (...slices: readonly string[]): BlueprintInput =>
    ({ slices: Object.fromEntries(slices.map((slice) => [slice, { artifact: `demo:${slice}@1` }])) });

  /** As `topic/slice blueprint`, and the topics whose set of slices is guarded by a row. */
  async function rows(): Promise<{ readonly groups: readonly string[]; readonly marks: readonly string[] }> {
    const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "topics" }) });
    const groups = entries.flatMap(({ key, value }) => {
      const parsed = parseKey(key);
      if (parsed.kind !== "topic-group") return [];
      return [`${parsed.topic}/${parsed.group} ${parseTopicGroupRow(value).blueprint}`];
    });
    const marks = entries.flatMap(({ key }) => {
      const parsed = parseKey(key);
      return parsed.kind === "topic" ? [parsed.topic] : [];
    });
    return { groups, marks };
  }

  async function mark(topic: string): Promise<number> {
    const { entry } = await local.kv.get(formatKey({ kind: "topic", topic }));
    return entry?.modRevision ?? 0;
  }

  beforeEach(() => push(
    { artifact: "demo:books:1.0.0", on: { sold: "ping", paid: "ping" } },
    { artifact: "demo:stock:1.0.0", on: { sold: "ping" } },
    { artifact: "demo:quiet:1.0.0" },
  ));

  test("are taken with a blueprint, and only its own go with it", async () => {
    await blueprints.apply("shop", only("books", "quiet"));
    await blueprints.apply("store", only("stock"));
    expect(await rows()).toEqual({
      groups: ["paid/books shop", "sold/books shop", "sold/stock store"], marks: ["paid", "sold"],
    });
    await blueprints.apply("shop", only("quiet"));
    expect(await rows()).toEqual({ groups: ["sold/stock store"], marks: ["sold"] });
    await blueprints.delete("store");
    expect(await rows()).toEqual({ groups: [], marks: [] });
    await blueprints.rollback("shop");
    expect(await rows()).toEqual({ groups: ["paid/books shop", "sold/books shop"], marks: ["paid", "sold"] });
  });

  test("change their row with the set of their slices, and only then", async () => {
    await blueprints.apply("shop", only("books"));
    const before = await mark("sold");
    await blueprints.apply("shop", only("books", "quiet"));
    expect(await mark("sold")).toBe(before);
    await blueprints.apply("store", only("stock"));
    expect(await mark("sold")).toBeGreaterThan(before);
  });

  test("of more subscriptions than a transaction has room for, say how the blueprint can be deleted", async () => {
    const slices = Array.from({ length: 10 }, (_, index) => `s${index}`);
    const topics = Array.from({ length: 16 }, (_, index) => `t${index}`);
    await push(...slices.map((name) =>
      ({ artifact: `demo:${name}:1.0.0`, on: Object.fromEntries(topics.map((topic) => [topic, "ping"])) })));
    await blueprints.apply("shop", only(...slices.slice(0, 5)));
    await blueprints.apply("shop", only(...slices));
    await expect(blueprints.delete("shop")).rejects.toMatchObject({
      code: "E_TOO_LARGE", message: expect.stringContaining("apply it with fewer slices first") as string,
    });
    await blueprints.apply("shop", only(...slices.slice(0, 5)));
    await blueprints.delete("shop");
    expect(await rows()).toEqual({ groups: [], marks: [] });
  });

  test("are read past whatever waits in them, and no more than twelve slices share one", async () => {
    const puts = Array.from({ length: 120 }, (_, index): Op => {
      const key = formatKey({ kind: "topic-message", topic: "paid", group: "books", partition: 0, id: `m${index}` });
      return { kind: "put", key, value: {} };
    });
    await local.kv.transact({ compare: [], then: puts, else: [] });
    const names = Array.from({ length: 13 }, (_, index) => `s${index}`);
    await push(...names.map((name) => ({ artifact: `demo:${name}:1.0.0`, on: { sold: "ping" } })));
    await blueprints.apply("store", only("stock"));
    expect(await rows()).toMatchObject({ groups: ["sold/stock store"] });
    await blueprints.apply("shop", only("books", ...names.slice(0, 10)));
    await expect(blueprints.apply("more", only(...names.slice(10, 12)))).rejects.toMatchObject({
      code: "E_TOO_LARGE", details: { limit: 12, actual: 14 },
    });
  });
});
