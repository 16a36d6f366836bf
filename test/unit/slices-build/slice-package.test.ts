import { describe, expect, test } from "vitest";
import { readSlicePackage } from "../../../src/slices/build/slice-package.ts";

function read(files: { aetherJson?: unknown; packageJson?: unknown; files?: string[] }) {
  return readSlicePackage({
    directory: "/slices/orders",
    aetherJson: files.aetherJson,
    packageJson: files.packageJson,
    files: new Set(files.files ?? ["slice.ts"]),
  });
}

describe("a slice package", () => {
  test("says what it is in aether.json", () => {
    const uses = { pricing: "demo:pricing@^1.0.0" };
    expect(read({ aetherJson: { artifact: "demo:orders", version: "1.2.3", uses } })).toEqual({
      directory: "/slices/orders", artifact: "demo:orders:1.2.3", main: "slice.ts", uses,
    });
  });

  test("or in package.json, by its scoped name or by the field aether", () => {
    const packageJson = { name: "@demo/orders", version: "1.0.0", main: "main.ts", license: "MIT" };
    expect(read({ packageJson })).toMatchObject({
      artifact: "demo:orders:1.0.0", main: "main.ts", uses: {},
    });
    const aether = { artifact: "shop:orders", main: "src/slice.ts", uses: { p: "demo:p@1" } };
    expect(read({ packageJson: { name: "orders", version: "1.0.0", main: "main.ts", aether } })).toMatchObject({
      artifact: "shop:orders:1.0.0", main: "src/slice.ts", uses: { p: "demo:p@1" },
    });
  });

  test("begins at slice.ts, else at index.ts", () => {
    const aetherJson = { artifact: "demo:orders", version: "1.0.0" };
    expect(read({ aetherJson, files: ["index.ts", "slice.ts"] }).main).toBe("slice.ts");
    expect(read({ aetherJson, files: ["index.ts"] }).main).toBe("index.ts");
    expect(() => read({ aetherJson, files: ["readme.md"] })).toThrow(/has no slice/);
  });

  test.each([
    ["no description at all", {}, /neither aether.json nor package.json/],
    ["no version", { packageJson: { name: "@demo/orders" } }, /version/],
    ["no name", { packageJson: { version: "1.0.0" } }, /does not say which artifact/],
    ["a version that is none", { aetherJson: { artifact: "demo:orders", version: "one" } }, /not an artifact/],
    ["an artifact with a version", { aetherJson: { artifact: "demo:orders:1.0.0", version: "1.0.0" } }, /group:name/],
    ["an unknown field", { aetherJson: { artifact: "demo:orders", version: "1.0.0", use: {} } }, /use/],
    [
      "a range that is none",
      { aetherJson: { artifact: "demo:orders", version: "1.0.0", uses: { p: "pricing" } } },
      /bad entry for "p"/,
    ],
  ])("is refused with %s", (_what, files, reason) => {
    const refusal: unknown = expect.objectContaining({ code: "E_INVALID" });
    expect(() => read(files)).toThrow(refusal);
    expect(() => read(files)).toThrow(reason);
  });
});
