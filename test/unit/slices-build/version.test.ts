import { describe, expect, test } from "vitest";
import { parseArtifactId, type ArtifactId } from "../../../src/base/ids.ts";
import { isMatch, parseArtifactReference, pickNewest, sortNewestFirst } from "../../../src/slices/core/version.ts";

const ids = (...texts: string[]) => texts.map(parseArtifactId);

describe("a reference to an artifact", () => {
  test("is a range or an exact version", () => {
    expect(parseArtifactReference("demo:orders@^1.2.0")).toEqual({ group: "demo", name: "orders", range: "^1.2.0" });
    expect(parseArtifactReference("demo:orders:1.2.0")).toEqual({ group: "demo", name: "orders", range: "1.2.0" });
  });

  test.each([
    "", "orders", "demo:orders", "demo:orders@", "demo:orders@banana", "demo:orders:^1.0.0", "demo:orders:1",
    "Demo:o@1",
  ])(
    'refuses "%s"',
    (text) => expect(() => parseArtifactReference(text)).toThrow(expect.objectContaining({ code: "E_INVALID" })),
  );

  test("matches the versions of its family in its range", () => {
    const family = ids("demo:orders:1.9.0", "demo:orders:1.10.0", "demo:orders:2.0.0");
    const held = [...family, ...ids("demo:other:1.11.0", "x:orders:1.12.0")];
    const reference = parseArtifactReference("demo:orders@^1.2.0");
    expect(pickNewest(held.filter((artifact) => isMatch(reference, artifact)))).toBe("demo:orders:1.10.0");
  });

  test("takes a pre-release only when it names one", () => {
    const [release, candidate] = ids("demo:orders:1.0.0", "demo:orders:1.1.0-rc.1");
    const caret = parseArtifactReference("demo:orders@^1.0.0");
    const isTaken = (artifact: ArtifactId | undefined) => artifact !== undefined && isMatch(caret, artifact);
    expect([release, candidate].map(isTaken)).toEqual([true, false]);
    const exact = parseArtifactReference("demo:orders:1.1.0-rc.1");
    expect(candidate !== undefined && isMatch(exact, candidate)).toBe(true);
  });

  test("orders versions as numbers, newest first", () => {
    const sorted = sortNewestFirst(ids("b:b:1.0.0", "a:a:1.9.0", "a:a:1.10.0"));
    expect(sorted).toEqual(["a:a:1.10.0", "a:a:1.9.0", "b:b:1.0.0"]);
    expect(pickNewest([])).toBeUndefined();
  });
});
