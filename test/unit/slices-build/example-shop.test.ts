import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { buildSlice, type BuiltArtifact } from "../../../src/slices/build/build-slice.ts";
import { BlueprintStore } from "../../../src/slices/blueprints/blueprint-store.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";

const SHOP = new URL("../../../docs/examples/01-shop/", import.meta.url);

describe("the example shop", () => {
  let local: LocalKv;
  const built = new Map<string, BuiltArtifact>();
  beforeAll(async () => {
    local = await createLocalKv();
    for (const slice of ["orders", "pricing", "inventory"]) {
      built.set(slice, await buildSlice({ directory: new URL(slice, SHOP).pathname }));
    }
  });
  afterAll(() => local.close());

  test("builds from source, with the effects that decide what may be retried", () => {
    const effects = [...built].map(([slice, { manifest }]) =>
      [slice, Object.fromEntries(Object.entries(manifest.methods).map(([name, { effect }]) => [name, effect]))]);
    expect(Object.fromEntries(effects)).toEqual({
      orders: { preview: "read", place: "write" },
      pricing: { quote: "read" },
      inventory: { levels: "read", reserve: "idempotent" },
    });
    expect(built.get("orders")?.manifest.routes).toEqual({
      "GET /shop/prices/:sku": "preview", "POST /shop/orders": "place",
    });
  });

  test("is accepted as a whole: pushed, applied and resolved", async () => {
    const repository = new ArtifactRepository({ kv: local.kv, clock: { wallMs: () => 0 } });
    for (const { archive } of built.values()) await repository.push(archive);
    const blueprints = new BlueprintStore({ kv: local.kv, artifacts: repository });
    const document: unknown = parse(await readFile(new URL("shop.yaml", SHOP), "utf8"));
    expect(await blueprints.apply("shop", document)).toEqual({ name: "shop", revision: 1 });
    const { slices } = await blueprints.get("shop");
    expect(Object.values(slices).map(({ instances }) => instances)).toEqual([2, 2, 2]);
    expect(slices["orders"]?.routes).toEqual([
      { route: "GET /shop/prices/:sku", method: "preview", numbers: ["quantity"], booleans: [] },
      { route: "POST /shop/orders", method: "place", numbers: [], booleans: [] },
    ]);
    expect(slices["orders"]?.uses).toEqual({
      pricing: { slice: "pricing", artifact: "demo:pricing:1.0.0", range: "^1.0.0" },
      inventory: { slice: "inventory", artifact: "demo:inventory:1.0.0", range: "^1.0.0" },
    });
  });
});
