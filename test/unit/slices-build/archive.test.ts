import { describe, expect, test } from "vitest";
import { encode } from "../../../src/base/codec.ts";
import { decodeArchive, encodeArchive } from "../../../src/slices/core/archive.ts";
import { parseManifest } from "../../../src/slices/core/manifest.ts";
import { sampleArchive, sampleBundle, sampleManifest } from "./sample-artifacts.ts";

const uses = { pricing: { slice: "pricing", artifact: "demo:pricing@^1.0.0" } };
const sample = { artifact: "demo:orders:1.0.0", uses };

describe("a slice archive", () => {
  test("gives back what was put in", () => {
    const { manifest, bundle, digest } = decodeArchive(sampleArchive(sample));
    expect(manifest).toEqual(sampleManifest(sample));
    expect(Buffer.from(bundle)).toEqual(Buffer.from(sampleBundle(sample)));
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
  });

  test("has the same bytes whatever order the manifest was written in (A1)", () => {
    const manifest = sampleManifest(sample);
    const reversed = parseManifest(Object.fromEntries(Object.entries(manifest).reverse()));
    const backwards = { ...Object.fromEntries(Object.entries(reversed).reverse()), ...reversed };
    expect(encodeArchive(backwards, sampleBundle(sample))).toEqual(sampleArchive(sample));
  });

  test("is refused when any of its bytes was changed", () => {
    const archive = sampleArchive(sample);
    const original = decodeArchive(archive);
    for (let at = 0; at < archive.byteLength; at++) {
      const changed = archive.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      try {
        const read = decodeArchive(changed);
        // A change of a manifest's text is another, valid manifest: its digest says so, and never its bundle.
        expect(read.digest).not.toBe(original.digest);
        expect(read.manifest.digest).toBe(original.manifest.digest);
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^E_(INVALID|VERSION)$/) });
      }
    }
  });

  test.each([
    ["nothing", new Uint8Array()],
    ["some text", new TextEncoder().encode("export default 1")],
    ["a truncated archive", sampleArchive(sample).slice(0, 60)],
    ["an archive of something else", Buffer.concat([sampleArchive(sample).slice(0, 9), encode([1, 2, 3])])],
  ])("refuses %s", (_what, bytes) => {
    expect(() => decodeArchive(bytes)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
  });

  test("whose manifest has a million values is refused before it is decoded", () => {
    const many = encode([Array.from({ length: 1_000_000 }, () => 0), new Uint8Array()]);
    const archive = Buffer.concat([sampleArchive(sample).slice(0, 9), many]);
    expect(() => decodeArchive(archive)).toThrow(
      expect.objectContaining({ code: "E_INVALID", message: "there are more than 262144 values in these bytes" }),
    );
  });

  test.each([
    ["digest", sampleBundle({ artifact: "demo:others:1.0.0" })],
    ["bundleBytes", sampleBundle({ artifact: "demo:orders:10.0.0" })],
  ])("with another bundle than its manifest says is refused at `%s`", (field, bundle) => {
    const mixed = encodeArchive(sampleManifest(sample), bundle);
    const [path, code] = [[field], "E_INVALID"];
    expect(() => decodeArchive(mixed)).toThrow(
      expect.objectContaining({ code, details: { issues: [expect.objectContaining({ path })] } }),
    );
  });

  test("names the fields of a manifest that are wrong", () => {
    const { digest: _, ...rest } = sampleManifest(sample);
    const wrong = { ...rest, methods: { ping: { effect: "sometimes" } }, artifact: "../../etc" };
    try {
      parseManifest(wrong);
      expect.unreachable();
    } catch (error) {
      const { issues } = (error as { readonly details: { issues: { path: string[] }[] } }).details;
      const paths = issues.map(({ path }) => path.join("."));
      expect(paths).toEqual(expect.arrayContaining(["artifact", "methods.ping.effect", "digest"]));
    }
  });

  test("of another format version is refused as such", () => {
    const archive = sampleArchive(sample);
    archive[8] = 2;
    expect(() => decodeArchive(archive)).toThrow(expect.objectContaining({ code: "E_VERSION" }));
    const newer = { ...sampleManifest(sample), format: 2 };
    expect(() => parseManifest(newer)).toThrow(expect.objectContaining({ code: "E_VERSION" }));
  });

  test("above 64 MiB is refused with limit and actual", () => {
    const bundle = new Uint8Array(64 * 1_024 * 1_024);
    expect(() => sampleArchive({ ...sample, bundle })).toThrow(
      expect.objectContaining({ code: "E_TOO_LARGE", details: expect.objectContaining({ limit: 67_108_864 }) }),
    );
  });
});
