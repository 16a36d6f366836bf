import { describe, expect, test } from "vitest";
import { parseArtifactId, parseNodeId } from "../../../../src/base/ids.ts";
import {
  compareKeyText,
  formatKey,
  matchPattern,
  parseKey,
  parseKeyText,
  prefixOf,
  utf8Bytes,
  type KeyText,
} from "../../../../src/kvstore/core/key.ts";

const artifact = parseArtifactId("demo:orders:1.2.0");
const node = parseNodeId("n1");
const invalid = expect.objectContaining({ code: "E_INVALID" });

describe("keys", () => {
  test("have the texts of the design", () => {
    expect(formatKey({ kind: "node-state", node })).toBe("nodes/n1/state");
    expect(formatKey({ kind: "blueprint", name: "shop", revision: 2 })).toBe("blueprints/shop/0000000002");
    expect(formatKey({ kind: "slice", node, artifact, instance: 0 })).toBe("slices/n1/demo:orders:1.2.0/0");
    expect(formatKey({ kind: "endpoint", slice: "orders", method: "place", node, artifact, instance: 3 })).toBe(
      "endpoints/orders/place/n1/demo:orders:1.2.0/3",
    );
    expect(parseKey("leader/beat")).toEqual({ kind: "leader-beat" });
    expect(parseKey("data/a/b c/ü")).toEqual({ kind: "data", path: "a/b c/ü" });
  });

  test.each([
    "",
    "data",
    "data/",
    "data//a",
    "data/a/",
    "/data/a",
    "data/../leader",
    "data/a\u0000",
    "data/a\ud800",
    "other/a",
    "leader/",
    "leader/beats",
    "cluster/else",
    "nodes/n1",
    "nodes/N1/state",
    "nodes/n1/state/x",
    "artifacts/demo:orders",
    "blobs/xyz/000000",
    "blueprints/shop/2",
    "blueprints/shop/00000000002",
    "blueprints/%41/current",
    "blueprints/%zz/current",
    "blueprints/*/current",
    "slices/n1/demo:orders:1.2.0/00",
    "slices/n1/demo:orders:1.2.0/-1",
    "endpoints/orders/place/n1/demo:orders:1.2.0",
    "data/a\u0085b",
    "data/a\u009f",
  ])("refuse %j", (text) => {
    expect(() => parseKey(text)).toThrow(invalid);
    expect(() => parseKeyText(text)).toThrow(invalid);
  });

  test("may be exactly 512 bytes long, and a byte more is refused with limit and actual", () => {
    expect(parseKeyText(`data/${"x".repeat(507)}`)).toHaveLength(512);
    expect(utf8Bytes(`data/${"ü".repeat(253)}x`)).toBe(512);
    expect(parseKeyText(`data/${"ü".repeat(253)}x`)).toHaveLength(259);
    for (const text of [`data/${"x".repeat(508)}`, `data/${"ü".repeat(254)}`]) {
      const tooLarge = expect.objectContaining({
        code: "E_TOO_LARGE",
        details: { limit: 512, actual: Buffer.byteLength(text) },
      });
      expect(() => parseKey(text)).toThrow(tooLarge);
      expect(() => parseKeyText(text)).toThrow(tooLarge);
      expect(() => formatKey({ kind: "data", path: text.slice("data/".length) })).toThrow(tooLarge);
    }
  });

  test("cannot be made of names that would forge a segment", () => {
    const forged = formatKey({ kind: "blueprint-current", name: "a/current/../*" });
    expect(forged.split("/")).toHaveLength(3);
    expect(parseKey(forged)).toEqual({ kind: "blueprint-current", name: "a/current/../*" });
    expect(() => formatKey({ kind: "blueprint-current", name: "" })).toThrow(invalid);
    expect(() => formatKey({ kind: "blueprint", name: "shop", revision: -1 })).toThrow(invalid);
  });

  test("order revisions by number", () => {
    const ten = formatKey({ kind: "blueprint", name: "shop", revision: 10 });
    const nine = formatKey({ kind: "blueprint", name: "shop", revision: 9 });
    expect(compareKeyText(nine, ten)).toBeLessThan(0);
  });

  test("order like their bytes, also beyond the basic plane", () => {
    const texts = ["data/\uffff", "data/\u{1f600}", "data/a", "data/ab", "data/\ue000", "data/z"].map(parseKeyText);
    const byBytes = [...texts].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect([...texts].sort(compareKeyText)).toEqual(byBytes);
  });
});

describe("prefixes", () => {
  test("end with the segment, so that n1 does not cover n10", () => {
    expect(prefixOf({ kind: "slices", node })).toBe("slices/n1/");
    expect(prefixOf({ kind: "endpoints", slice: "a/b" })).toBe("endpoints/a%2Fb/");
    expect(prefixOf({ kind: "endpoints" })).toBe("endpoints/");
    expect(prefixOf({ kind: "leader" })).toBe("leader");
  });
});

describe("patterns", () => {
  test.each([
    ["slices/*/demo:orders:1.2.0/*", "slices/n1/demo:orders:1.2.0/0", true],
    ["slices/*/demo:orders:1.2.0/*", "slices/n1/demo:orders:1.3.0/0", false],
    ["slices/*/demo:orders:1.2.0", "slices/n1/demo:orders:1.2.0/0", false],
    ["endpoints/orders/**", "endpoints/orders/place/n1/demo:orders:1.2.0/0", true],
    ["endpoints/orders/**", "endpoints/orders", false],
    ["data/**", "data/a", true],
    ["leader", "leader", true],
    ["leader", "leader/beat", false],
  ])("%s on %s is %s", (pattern, key, isMatch) => {
    expect(matchPattern(pattern, key as KeyText)).toBe(isMatch);
  });
});
