import { describe, expect, test } from "vitest";
import { plant, placesOf } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { findMissingEntries, findUnexplainedDependencies, findUnusedDependencies } from "./rules/package-manifest.ts";

describe("every package we ship has its reason in a decision record", () => {
  const manifest = { "package.json": '{\n  "dependencies": {\n    "ws": "^8",\n    "leftpad": "^1"\n  }\n}' };
  const decision = { "docs/adr/0005-dependencies.md": "| `ws` | WebSockets |" };

  test("in this project", () => {
    expect(describeFindings(findUnexplainedDependencies(readProject()))).toEqual([]);
  });

  test("finds a package that nobody explained", () => {
    expect(placesOf(findUnexplainedDependencies(plant({ ...manifest, ...decision })))).toEqual(["package.json:4"]);
  });
});

describe("every package we ship is used", () => {
  const manifest = { "package.json": '{\n  "dependencies": {\n    "ws": "^8",\n    "leftpad": "^1"\n  }\n}' };

  test("in this project", () => {
    expect(describeFindings(findUnusedDependencies(readProject()))).toEqual([]);
  });

  test("finds a package that only a comment mentions", () => {
    const files = plant({ ...manifest, "src/net/a.ts": '// not "leftpad"\nimport { WebSocket } from "ws";' });
    expect(placesOf(findUnusedDependencies(files))).toEqual(["package.json:4"]);
  });
});

describe("files that package.json names exist", () => {
  const manifest = '{\n"bin": "dist/cli/main.js",\n"types": "./dist/index.d.ts",\n"sim": "tsx test/sim/run.ts --x"\n}';

  test("in this project", () => {
    expect(describeFindings(findMissingEntries(readProject()))).toEqual([]);
  });

  test("finds an entry without source and a script without file", () => {
    const files = plant({ "package.json": manifest, "src/cli/main.ts": "" });
    expect(placesOf(findMissingEntries(files))).toEqual(["package.json:3", "package.json:4"]);
  });

  test("follows a bundle to the module that it is made of", () => {
    const config = 'entryPoints: { "cli": "dist/cli/main.js", "worker": "dist/worker.js" }';
    const bundled = '{\n"bin": "dist/bundle/cli.js",\n"default": "./dist/bundle/other.js"\n}';
    const files = plant({ "package.json": bundled, "esbuild.config.js": config, "src/cli/main.ts": "" });
    expect(placesOf(findMissingEntries(files))).toEqual(["package.json:3"]);
  });

  test("accepts what is there", () => {
    const files = plant({ "package.json": manifest, "src/cli/main.ts": "", "src/index.ts": "", "test/sim/run.ts": "" });
    expect(findMissingEntries(files)).toEqual([]);
  });
});
