import { describe, expect, test } from "vitest";
import { z } from "zod";
import { parseArtifactId } from "../../../src/base/ids.ts";
import { parseBlueprintDocument, type BlueprintInput } from "../../../src/sdk/blueprint.ts";
import { instanceSpecOf, parseResolvedBlueprint, type ResolvedBlueprint } from "../../../src/slices/core/blueprint.ts";
import { resolveBlueprint } from "../../../src/slices/core/resolve-dependencies.ts";
import { sampleManifest, type Sample } from "./sample-artifacts.ts";

const usesPricing = { pricing: { slice: "pricing", artifact: "demo:pricing@^1.0.0" } };

type Slices = BlueprintInput["slices"];

function resolve(
  samples: readonly Sample[],
  slices: Slices,
  elsewhere: Readonly<Record<string, string>> = {},
): ResolvedBlueprint {
  return resolveBlueprint({
    name: "shop",
    revision: 7,
    document: parseBlueprintDocument({ slices }),
    artifacts: samples.map(sampleManifest),
    elsewhere: new Map(Object.entries(elsewhere).map(([slice, artifact]) => [slice, parseArtifactId(artifact)])),
  });
}

function issuesOf(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    expect(error).toMatchObject({ code: "E_INVALID" });
    return error instanceof Error && "details" in error ? error.details : error;
  }
  throw new TypeError("it was not refused");
}

describe("resolving a blueprint", () => {
  test("takes the newest artifact of each range", () => {
    const samples = ["1.0.0", "1.2.0", "1.10.0", "2.0.0"].map((version) => ({ artifact: `demo:orders:${version}` }));
    const resolved = resolve(samples, { orders: { artifact: "demo:orders@^1.0.0", instances: 3 } });
    expect(resolved).toMatchObject({ name: "shop", revision: 7 });
    expect(resolved.slices["orders"]).toMatchObject({
      artifact: "demo:orders:1.10.0", instances: 3, config: {}, minAvailable: 2,
    });
    const exact = resolve(samples, { orders: { artifact: "demo:orders:1.2.0" } });
    expect(exact.slices["orders"]?.artifact).toBe("demo:orders:1.2.0");
  });

  test("lets slices use each other in a circle", () => {
    const samples = [
      { artifact: "demo:orders:1.0.0", uses: usesPricing },
      { artifact: "demo:pricing:1.1.0", uses: { shop: { slice: "orders" } } },
    ];
    const { slices } = resolve(samples, {
      orders: { artifact: "demo:orders@1" },
      pricing: { artifact: "demo:pricing@1" },
    });
    expect(slices["orders"]?.uses).toEqual({ pricing: {
      slice: "pricing", artifact: "demo:pricing:1.1.0", range: "^1.0.0",
    } });
    expect(slices["pricing"]?.uses).toEqual({ shop: { slice: "orders", artifact: "demo:orders:1.0.0" } });
  });

  test("finds what it uses in another blueprint, then among the artifacts", () => {
    const samples = [
      { artifact: "demo:orders:1.0.0", uses: usesPricing },
      { artifact: "demo:pricing:1.5.0" },
      { artifact: "demo:pricing:1.1.0" },
    ];
    const document = { orders: { artifact: "demo:orders@1" } };
    const running = resolve(samples, document, { pricing: "demo:pricing:1.1.0" });
    expect(running.slices["orders"]?.uses["pricing"]?.artifact).toBe("demo:pricing:1.1.0");
    expect(resolve(samples, document).slices["orders"]?.uses["pricing"]?.artifact).toBe("demo:pricing:1.5.0");
  });

  test("names the candidates when an artifact is missing", () => {
    const samples = [{ artifact: "demo:orders:1.0.0" }, { artifact: "demo:orders:1.1.0" }];
    expect(issuesOf(() => resolve(samples, { orders: { artifact: "demo:orders@^2.0.0" } }))).toEqual({
      issues: [{
        path: ["slices", "orders", "artifact"],
        message: "the cluster holds no demo:orders@^2.0.0; of this name it holds demo:orders:1.1.0, demo:orders:1.0.0",
      }],
    });
  });

  test("names everything that is wrong at once", () => {
    const samples = [
      { artifact: "demo:orders:1.0.0", uses: usesPricing },
      { artifact: "demo:stock:1.0.0", slice: "inventory" },
    ];
    const details = issuesOf(() => resolve(samples, {
      orders: { artifact: "demo:orders@1" },
      stock: { artifact: "demo:stock@1" },
      bad: { artifact: "demo:bad@banana" },
    }));
    expect(details).toMatchObject({
      issues: [
        { path: ["slices", "stock"], message: expect.stringContaining('is the slice "inventory"') },
        { path: ["slices", "bad", "artifact"], message: expect.stringContaining("not a semver range") },
        { path: ["slices", "orders", "uses", "pricing"], message: expect.stringContaining("no blueprint runs it") },
      ],
    });
  });

  test("refuses a used slice that runs in a version outside the range", () => {
    const samples = [{ artifact: "demo:orders:1.0.0", uses: usesPricing }, { artifact: "demo:pricing:2.0.0" }];
    const details = issuesOf(() => resolve(samples, {
      orders: { artifact: "demo:orders@1" },
      pricing: { artifact: "demo:pricing@2" },
    }));
    expect(details).toMatchObject({ issues: [{ message: expect.stringContaining("is demo:pricing:2.0.0") }] });
  });

  test("refuses a use that two families of artifacts could serve", () => {
    const samples = [
      { artifact: "demo:orders:1.0.0", uses: { pricing: { slice: "pricing" } } },
      { artifact: "demo:pricing:1.0.0" },
      { artifact: "other:pricing:1.0.0" },
    ];
    const details = issuesOf(() => resolve(samples, { orders: { artifact: "demo:orders@1" } }));
    expect(details).toMatchObject({
      issues: [{ message: expect.stringContaining("demo:pricing:1.0.0, other:pricing:1.0.0") as unknown }],
    });
  });

  test("checks the config against the schema of the manifest", () => {
    const zodSchema = z.object({ currency: z.string().length(3), rate: z.number().default(1) });
    const schema = z.toJSONSchema(zodSchema, { io: "input" });
    const samples = [{ artifact: "demo:orders:1.0.0", config: { ...schema } }, { artifact: "demo:plain:1.0.0" }];
    const orders = (config?: unknown): Slices =>
      ({ orders: { artifact: "demo:orders@1", ...(config === undefined ? {} : { config }) } });
    expect(resolve(samples, orders({ currency: "EUR" })).slices["orders"]?.config).toEqual({ currency: "EUR" });
    expect(issuesOf(() => resolve(samples, orders({ currency: 5 })))).toMatchObject({
      issues: [{ path: ["slices", "orders", "config", "currency"] }],
    });
    expect(issuesOf(() => resolve(samples, orders()))).toMatchObject({
      issues: [{ path: ["slices", "orders", "config", "currency"] }],
    });
    expect(issuesOf(() => resolve(samples, { plain: { artifact: "demo:plain@1", config: { a: 1 } } }))).toMatchObject({
      issues: [{ message: expect.stringContaining("takes no config") }],
    });
  });

  test("refuses slices that wait for each other to load, with the path, and leaves mutual calls alone", () => {
    const samples = (loadAfter: readonly string[]): readonly Sample[] => [
      { artifact: "demo:orders:1.0.0", uses: usesPricing, loadAfter: ["pricing"] },
      { artifact: "demo:pricing:1.0.0", uses: { orders: { slice: "orders" } }, loadAfter },
    ];
    const document = { orders: { artifact: "demo:orders@1" }, pricing: { artifact: "demo:pricing@1" } };
    const { slices } = resolve(samples([]), document);
    expect(slices["orders"]?.loadAfter).toEqual(["pricing"]);
    expect(issuesOf(() => resolve(samples(["orders"]), document))).toMatchObject({
      issues: [{
        path: ["slices", "orders", "loadAfter"],
        message: expect.stringContaining("orders -> pricing -> orders: ") as unknown,
      }],
    });
    const { orders } = document;
    expect(issuesOf(() => resolve(samples([]), { orders }, { pricing: "demo:pricing:1.0.0" }))).toMatchObject({
      issues: [{
        path: ["slices", "orders", "loadAfter"],
        message: 'it is loaded after "pricing", which is not in this blueprint: add that slice to it',
      }],
    });
  });

  test("refuses an artifact of an SDK that this version does not run", () => {
    const samples = [{ artifact: "demo:orders:1.0.0", sdkVersion: "9.0.0" }];
    expect(issuesOf(() => resolve(samples, { orders: { artifact: "demo:orders@1" } }))).toMatchObject({
      issues: [{
        path: ["slices", "orders", "artifact"],
        message: expect.stringContaining("demo:orders:1.0.0: the slice was built with SDK 9.0.0") as unknown,
      }],
    });
  });

  test("refuses a config that is too deep, before anything walks it", () => {
    const samples = [{ artifact: "demo:orders:1.0.0", config: {} }];
    // Deep enough to overflow a stack.
    const config: unknown = JSON.parse(`${"[".repeat(200_000)}${"]".repeat(200_000)}`);
    expect(issuesOf(() => resolve(samples, { orders: { artifact: "demo:orders@1", config } }))).toEqual({
      issues: [{ path: ["slices", "orders", "config"], message: "it is deeper than 32 levels: make it flatter" }],
    });
  });

  test("never runs a regular expression of a manifest", () => {
    const pattern = { type: "object", properties: { a: { type: "string", pattern: "^(a+)+$" } } };
    const samples = [{ artifact: "demo:orders:1.0.0", config: pattern }];
    const config = { a: `${"a".repeat(60)}!` };
    // Run, it would end after years. The slice's own schema judges it, in the slice's own thread.
    const { slices } = resolve(samples, { orders: { artifact: "demo:orders@1", config } });
    expect(slices["orders"]?.config).toEqual(config);
  });

  test("does not take a schema it cannot read for a refusal", () => {
    const samples = [{ artifact: "demo:orders:1.0.0", config: { $ref: "https://example.org/nowhere" } }];
    const { slices } = resolve(samples, { orders: { artifact: "demo:orders@1", config: { a: 1 } } });
    expect(slices["orders"]?.config).toEqual({ a: 1 });
  });

  test("gives a blueprint that can be stored, read back and turned into instances", () => {
    const samples = [{ artifact: "demo:orders:1.0.0", uses: usesPricing }, { artifact: "demo:pricing:1.0.0" }];
    const document = { artifact: "demo:orders@1", instances: 2, variables: { TZ: "UTC" } };
    const resolved = resolve(samples, { orders: document });
    expect(parseResolvedBlueprint(JSON.parse(JSON.stringify(resolved)))).toEqual(resolved);
    expect(instanceSpecOf(resolved, "orders", 1)).toEqual({
      key: "demo:orders:1.0.0/1", slice: "orders", artifact: "demo:orders:1.0.0", index: 1, config: {},
      uses: { pricing: { slice: "pricing", artifact: "demo:pricing:1.0.0", range: "^1.0.0" } },
      heapBytesMax: 134_217_728, concurrency: 64, variables: { TZ: "UTC" },
    });
  });
});
