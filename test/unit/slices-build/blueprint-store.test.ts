import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseArtifactId, parseNodeId } from "../../../src/base/ids.ts";
import { formatKey, prefixOf } from "../../../src/kvstore/core/key.ts";
import type { Kv, KvReadOptions } from "../../../src/kvstore/kv.ts";
import type { Txn, TxnResult } from "../../../src/kvstore/core/schema.ts";
import type { BlueprintInput } from "../../../src/sdk/blueprint.ts";
import { BlueprintStore } from "../../../src/slices/blueprint-store.ts";
import { instanceSpecOf } from "../../../src/slices/core/blueprint.ts";
import type { InstanceRow, InstanceRowState } from "../../../src/slices/core/instance-row.ts";
import { ArtifactRepository } from "../../../src/slices/repository.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { sampleArchive, type Sample } from "./sample-artifacts.ts";

const clock = { wallMs: () => 1_700_000_000_000 };
let local: LocalKv;
let blueprints: BlueprintStore;
beforeEach(async () => {
  local = await createLocalKv();
  blueprints = storeOn(local.kv);
});
afterEach(() => local.close());

function storeOn(kv: Kv): BlueprintStore {
  return new BlueprintStore({ kv, artifacts: new ArtifactRepository({ kv, clock }) });
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
  return {
    get: (key, options?: KvReadOptions) => kv.get(key, options),
    list: (query, options) => kv.list(query, options),
    watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
    transact: async (txn: Txn, options): Promise<TxnResult> => {
      await interrupt(++attempt);
      return kv.transact(txn, options);
    },
    get revision() {
      return kv.revision;
    },
    get oldestRevision() {
      return kv.oldestRevision;
    },
  };
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

describe("the status of a blueprint", () => {
  test("compares what is wanted with the rows of the instances", async () => {
    await push({ artifact: "demo:orders:1.0.0" }, { artifact: "demo:orders:1.1.0" });
    await blueprints.apply("shop", orders({ instances: 3 }));
    const blueprint = await blueprints.get("shop");
    const sinceMs = 1_700_000_000_000;
    const row = (state: InstanceRowState, more: Partial<InstanceRow> = {}): InstanceRow => ({
      state, slice: "orders", blueprint: "shop", revision: 1, generation: 1, sinceMs, attempt: 1,
      spec: instanceSpecOf(blueprint, "orders", 0), ...more,
    });
    const error = { code: "E_INVALID", message: "bad config", fatal: true };
    await writeRow("n1", "demo:orders:1.1.0", 0, row("ACTIVE"));
    await writeRow("n2", "demo:orders:1.1.0", 1, row("FAILED", { error }));
    await writeRow("n2", "demo:orders:1.0.0", 0, row("ACTIVE", { revision: 1 }));
    await writeRow("n3", "demo:pricing:1.0.0", 0, row("UNLOAD", { slice: "pricing" }));
    await writeRow("n3", "demo:orders:1.1.0", 2, row("ACTIVE", { blueprint: "somebody-else" }));
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

  async function writeRow(node: string, artifact: string, instance: number, value: InstanceRow): Promise<void> {
    const key = formatKey({ kind: "slice", node: parseNodeId(node), artifact: parseArtifactId(artifact), instance });
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
  }
});
