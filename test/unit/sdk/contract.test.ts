import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineBlueprint, defineContract, defineSlice, method } from "../../../src/sdk/index.ts";
import { parseBlueprintDocument } from "../../../src/sdk/blueprint.ts";
import { SDK_VERSION } from "../../../src/sdk/version.ts";

const text = { input: z.string(), output: z.string() };

describe("a method", () => {
  test("is a write that waits 15 s unless it says otherwise", () => {
    expect(method(text)).toMatchObject({ effect: "write", timeoutMs: 15_000 });
    expect(method({ ...text, effect: "read", timeoutMs: 100 })).toMatchObject({ effect: "read", timeoutMs: 100 });
  });

  test("a policy is filled in; without one there is none", () => {
    expect(method(text)).not.toHaveProperty("policy");
    const { policy } = method({
      ...text, effect: "read", retry: { max: 1 }, rateLimit: { perSecond: 2.5 }, cache: { ttlMs: 500 },
    });
    expect(policy).toEqual({
      retry: { max: 1 }, rateLimit: { perSecond: 2.5, burst: 3 }, cache: { ttlMs: 500, entriesMax: 1_000 },
    });
  });

  test.each([
    ["retries without end", { retry: { max: 11 } }],
    ["a rate of nothing", { rateLimit: { perSecond: 0 } }],
    ["a cache for ever", { effect: "read" as const, cache: { ttlMs: 3_600_001 } }],
    ["a cache of a write", { cache: { ttlMs: 100 } }],
  ])("refuses %s", (_what, policy) => {
    expect(() => method({ ...text, ...policy })).toThrow(expect.objectContaining({ code: "E_INVALID" }));
  });

  test.each([0, -1, 1.5, Number.NaN, 3_600_001])("refuses to wait %d ms", (timeoutMs) => {
    expect(() => method({ ...text, timeoutMs })).toThrow(/timeoutMs/);
  });
});

describe("a contract", () => {
  test("refuses names that cannot be part of a URL", () => {
    for (const name of ["", "1st", "a/b", "a b", "é", "__proto__", "x".repeat(64)]) {
      expect(() => defineContract(name, {}), name).toThrow(/cannot be used as a name/);
      expect(() => defineContract("ok", { [`${name}!`]: method(text) }), name).toThrow(/cannot be used as a name/);
    }
    expect(defineContract("orders-v2_b", { placeOrder: method(text) }).name).toBe("orders-v2_b");
  });

  test("has at most 100 methods", () => {
    const methods = Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`m${index}`, method(text)]));
    expect(() => defineContract("big", methods)).toThrow(/100 is the limit/);
  });
});

describe("a slice", () => {
  test("says what it is and which SDK made it", () => {
    const contract = defineContract("echo", { say: method(text) });
    const slice = defineSlice({ contract, methods: { say: async (input) => input } });
    expect(slice).toMatchObject({ kind: "aether-slice", sdkVersion: SDK_VERSION, uses: {} });
    expect(slice.contract).toBe(contract);
  });

  test("remembers the version of this package", () => {
    const own: unknown = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
    expect(own).toMatchObject({ version: SDK_VERSION });
  });
});

describe("a blueprint document", () => {
  const orders = { artifact: "demo:orders@^1.0.0" };

  test("gets its defaults", () => {
    expect(parseBlueprintDocument({ slices: { orders } }).slices["orders"]).toMatchObject({
      instances: 1, concurrency: 64, heapBytesMax: 134_217_728, variables: {}, labels: {},
    });
  });

  test("refuses a misspelt field and names its place", () => {
    expect(() => parseBlueprintDocument({ slices: { orders: { ...orders, instnaces: 2 } } })).toThrow(
      expect.objectContaining({
        code: "E_INVALID",
        details: { issues: [expect.objectContaining({ path: ["slices", "orders", "instnaces"] })] },
      }),
    );
  });

  test.each([
    ["no artifact", { slices: { orders: {} } }],
    ["a negative count", { slices: { orders: { ...orders, instances: -1 } } }],
    ["more available than there are", { slices: { orders: { ...orders, instances: 2, minAvailable: 3 } } }],
    ["a name that is no name", { slices: { "a/b": orders } }],
    ["too little heap", { slices: { orders: { ...orders, heapBytesMax: 1_024 } } }],
    ["no slices", {}],
    ["something else", null],
    ["too many slices", { slices: Object.fromEntries(Array.from({ length: 41 }, (_, at) => [`s${at}`, orders])) }],
  ])("refuses %s", (_what, document) => {
    expect(() => parseBlueprintDocument(document)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
  });

  test("is checked where it is defined in code", () => {
    const half = { ...orders, instances: 1.5 };
    expect(() => defineBlueprint({ name: "shop", slices: { orders: half } })).toThrow(/instances/);
    expect(defineBlueprint({ name: "shop", slices: { orders } })).toEqual({ name: "shop", slices: { orders } });
  });
});
