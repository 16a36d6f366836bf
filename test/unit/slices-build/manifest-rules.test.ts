import { describe, expect, test } from "vitest";
import type { AetherError } from "../../../src/base/errors.ts";
import { SDK_VERSION } from "../../../src/sdk/version.ts";
import type { Manifest } from "../../../src/slices/core/manifest.ts";
import { checkNewManifest, MANIFEST_BYTES_MAX, sdkIssueOf } from "../../../src/slices/core/manifest-rules.ts";
import { sampleManifest } from "./sample-artifacts.ts";

const sample = sampleManifest({ artifact: "demo:orders:1.0.0" });
const ping = { effect: "read", timeoutMs: 1_000, input: {}, output: {} } as const;

const agent = { input: {}, output: {}, tools: {}, signals: {} } as const;
const tool = { effect: "once", timeoutMs: 1_000, hasReconcile: true } as const;

function nested(levels: number): Record<string, unknown> {
  return levels === 1 ? {} : { items: nested(levels - 1) };
}

function manyOf<T>(count: number, value: T): Record<string, T> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`n${index}`, value]));
}

function routes(count: number): [string, string][] {
  return Array.from({ length: count }, (_, index) => [`GET /shop/${index}`, "ping"]);
}

function refusalOf(manifest: Manifest): AetherError {
  try {
    checkNewManifest(manifest);
  } catch (error) {
    return error as AetherError;
  }
  throw new TypeError("it was not refused");
}

describe("the manifest of a new artifact", () => {
  test("is accepted at each limit", () => {
    checkNewManifest(sample);
    checkNewManifest({ ...sample, methods: manyOf(100, ping), uses: manyOf(100, { slice: "pricing" }) });
    checkNewManifest({ ...sample, config: nested(32) });
    checkNewManifest({ ...sample, agents: manyOf(32, agent) });
    checkNewManifest({ ...sample, agents: { a: { ...agent, tools: manyOf(64, tool), signals: manyOf(64, {}) } } });
    checkNewManifest({ ...sample, routes: Object.fromEntries(routes(16)) });
  });

  test.each([
    ["methods", { methods: manyOf(101, ping) }, ["methods"], "it has 101; the limit is 100"],
    ["uses", { uses: manyOf(101, { slice: "pricing" }) }, ["uses"], "it has 101; the limit is 100"],
    ["depth of input", { methods: { ping: { ...ping, input: nested(33) } } }, ["methods", "ping", "input"], "deeper"],
    ["routes", { routes: Object.fromEntries(routes(17)) }, ["routes"], "it has 17; the limit is 16"],
    ["the runtime's paths", { routes: { "GET /v1/kv": "ping" } }, ["routes", "GET /v1/kv"], "kept for the runtime"],
    ["unknown methods", { routes: { "GET /a": "toString" } }, ["routes", "GET /a"], 'no method "toString"'],
    ["a GET that writes", { methods: { ping: { ...ping, effect: "write" as const } }, routes: { "GET /a": "ping" } },
      ["routes", "GET /a"], "a GET changes nothing"],
    ["a route twice", { routes: { "GET /a/:x": "ping", "GET /a/:y": "ping" } },
      ["routes", "GET /a/:y"], "same requests"],
    ["topics", { on: manyOf(17, "ping") }, ["on"], "it has 17; the limit is 16"],
    ["topics of unknown methods", { on: { sold: "hear" } }, ["on", "sold"], 'no method "hear"'],
    ["topics of methods that read", { on: { sold: "ping" } }, ["on", "sold"], "effect of \"ping\" is read"],
    ["depth of the config", { config: nested(33) }, ["config"], "deeper than 32 levels"],
    ["an hour for a call", { methods: { ping: { ...ping, timeoutMs: 3_600_001 } } },
      ["methods", "ping", "timeoutMs"], "use 1 to 3600000"],
    ["a cache of a write", {
      methods: { ping: { ...ping, effect: "write" as const, policy: { cache: { ttlMs: 1, entriesMax: 1 } } } },
    }, ["methods", "ping", "policy", "cache"], 'only a "read"'],
    ["agents", { agents: manyOf(33, agent) }, ["agents"], "it has 33; the limit is 32"],
    ["tools", { agents: { a: { ...agent, tools: manyOf(65, tool) } } }, ["agents", "a", "tools"], "the limit is 64"],
    ["signals", { agents: { a: { ...agent, signals: manyOf(65, {}) } } }, ["agents", "a", "signals"], "limit is 64"],
    ["depth of a signal", { agents: { a: { ...agent, signals: { s: nested(33) } } } },
      ["agents", "a", "signals", "s"], "deeper than 32 levels"],
    ["an hour for a tool", { agents: { a: { ...agent, tools: { t: { ...tool, timeoutMs: 3_600_001 } } } } },
      ["agents", "a", "tools", "t", "timeoutMs"], "use 1 to 3600000"],
    ["a reconcile that nobody asks", {
      agents: { a: { ...agent, tools: { t: { ...tool, effect: "read" as const } } } },
    },
      ["agents", "a", "tools", "t", "hasReconcile"], "nobody asks it"],
    ["slices that it waits for", { loadAfter: routes(101).map((_, at) => `s${at}`) }, ["loadAfter"], "it has 101"],
    ["itself among them", { loadAfter: ["pricing", "orders"] }, ["loadAfter"], "waits for itself"],
    ["a range that is none", { uses: { pricing: { slice: "pricing", artifact: "demo:pricing@newest" } } },
      ["uses", "pricing", "artifact"], '"newest" is not a semver range'],
    ["a reference without end", { uses: { pricing: { slice: "pricing", artifact: `demo:a@${"|".repeat(9_999)}` } } },
      ["uses", "pricing", "artifact"], "names no artifact: use"],
    ["use of itself", { uses: { self: { slice: "orders" } } }, ["uses", "self"], "does not call itself"],
  ])("is refused beyond: %s", (_what, changes, path, message) => {
    const { code, details } = refusalOf({ ...sample, ...changes });
    expect(code).toBe("E_INVALID");
    expect(details).toMatchObject({ issues: [{ path, message: expect.stringContaining(message) as unknown }] });
  });

  test("is refused above 256 KiB with limit and actual", () => {
    const large = { ...sample, config: { description: "x".repeat(MANIFEST_BYTES_MAX) } };
    const { code, details } = refusalOf(large);
    expect(code).toBe("E_TOO_LARGE");
    expect(details).toMatchObject({ limit: 262_144, actual: expect.any(Number) as unknown });
  });

  test.each([
    ["a later line", "9.9.9", "upgrade the nodes first"],
    ["a later line before 1.0", "0.99.0", "upgrade the nodes first"],
    ["an earlier line", "0.0.9", "build it again"],
    ["no version", "newest", "is no version of the SDK"],
    ["something endless", "1".repeat(10_000), "is no version of the SDK"],
  ])("built with %s of the SDK is refused with the place and what to do", (_what, sdkVersion, advice) => {
    const { code, message, details, httpStatus } = refusalOf({ ...sample, sdkVersion });
    expect({ code, httpStatus }).toEqual({ code: "E_VERSION", httpStatus: 400 });
    expect(message).toContain(advice);
    expect(message.length).toBeLessThan(300);
    expect(details).toMatchObject({ issues: [{ path: ["sdkVersion"] }] });
  });

  test("of this SDK, or another patch of it, is fine", () => {
    const [major, minor] = SDK_VERSION.split(".");
    for (const version of [SDK_VERSION, `${major}.${minor}.99`, `${major}.${minor}.0-rc.1`]) {
      expect(sdkIssueOf(version)).toBeUndefined();
    }
  });
});
