import { describe, expect, test } from "vitest";
import { plant, placesOf } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { findBarrels, findMissingHeaders, findVagueNames } from "./rules/file-shape.ts";

describe("a source file says what it owns", () => {
  test("in this project", () => {
    expect(describeFindings(findMissingHeaders(readProject()))).toEqual([]);
  });

  test("finds a file that begins with code or with another comment", () => {
    const files = plant({
      "src/net/a.ts": "export const x = 1;\n",
      "src/net/b.ts": "// The frame.\n",
      "src/net/c.ts": "// Owns: frames.\n",
      "src/net/d.ts": "// Ports only: no code here.\n",
      "src/cli/main.ts": "#!/usr/bin/env node\n// Owns: the command line.\n",
    });
    expect(placesOf(findMissingHeaders(files))).toEqual(["src/net/a.ts:1", "src/net/b.ts:1"]);
  });
});

describe("a file is named after the one thing it owns", () => {
  test("in this project", () => {
    expect(describeFindings(findVagueNames(readProject()))).toEqual([]);
  });

  test.each(["src/net/utils.ts", "src/common/frame.ts", "src/net/string-helpers.ts", "test/misc/a.test.ts"])(
    "finds %s",
    (path) => {
      expect(placesOf(findVagueNames(plant({ [path]: "" })))).toEqual([`${path}:1`]);
    },
  );

  test("accepts such a word where it only describes another", () => {
    expect(findVagueNames(plant({ "test/scenario/common-path.test.ts": "" }))).toEqual([]);
  });
});

describe("there are no barrels", () => {
  const manifest = { "package.json": '{ "exports": { "./slice": { "types": "./dist/sdk/index.d.ts" } } }' };

  test("in this project", () => {
    expect(describeFindings(findBarrels(readProject()))).toEqual([]);
  });

  test.each([
    ["an index file that is no package entry", "src/net/index.ts", "export const x = 1;"],
    ["export *", "src/net/frame.ts", 'export * from "./a.ts";\nexport const x = 1;'],
    ["a file of re-exports", "src/net/frame.ts", 'export { a } from "./a.ts";\nexport { b } from "./b.ts";'],
  ])("finds %s", (_what, path, text) => {
    expect(placesOf(findBarrels(plant({ ...manifest, [path]: text })))).toEqual([`${path}:1`]);
  });

  test("accepts the entries of package.json", () => {
    const files = plant({ ...manifest, "src/sdk/index.ts": 'export { a } from "./a.ts";' });
    expect(findBarrels(files)).toEqual([]);
  });
});
