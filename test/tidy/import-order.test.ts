import { describe, expect, test } from "vitest";
import { plant, placesOf } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { findImportsToTheRight, findWorldLibraries } from "./rules/import-order.ts";

describe("imports go left only", () => {
  test("in this project", () => {
    expect(describeFindings(findImportsToTheRight(readProject()))).toEqual([]);
  });

  test.each([
    ["an import from the right", "src/kvstore/kv-store.ts", 'import { x } from "../cluster/placement.ts";'],
    ["a type from the right", "src/base/ids.ts", 'import type { Env } from "../env/env.ts";'],
    ["a re-export from the right", "src/slices/host/slice-store.ts", 'export { x } from "../../node/node.ts";'],
    ["a type expression from the right", "src/net/frame.ts", 'export type X = import("../api/server.ts").X;'],
    ["a dynamic import from the right", "src/api/server.ts", 'export const x = import("../node/node.ts");'],
    ["more than base in sdk", "src/sdk/slice.ts", 'import type { Env } from "../env/env.ts";'],
    ["the store in cli", "src/cli/commands/kv.ts", 'import { KvStore } from "../../kvstore/kv-store.ts";'],
    ["the server itself in cli", "src/cli/commands/kv.ts", 'import { ApiServer } from "../../api/server.ts";'],
    ["the node in cli, loaded at once", "src/cli/commands/node.ts", 'import { runNode } from "../../node/main.ts";'],
    ["an area nobody has heard of", "src/shared/thing.ts", 'import { x } from "../base/ids.ts";'],
  ])("finds %s", (_what, path, text) => {
    expect(placesOf(findImportsToTheRight(plant({ [path]: `// Owns: a sample.\n${text}\n` })))).toEqual([`${path}:2`]);
  });

  test.each([
    ["an import from the left", "src/cluster/placement.ts", 'import { x } from "../kvstore/core/key.ts";'],
    ["an import from the same area", "src/cluster/a.ts", 'import { x } from "./core/b.ts";'],
    ["types of the API in cli", "src/cli/commands/kv.ts", 'import type { Page } from "../../api/routes/kv.ts";'],
    ["the node in cli, on demand", "src/cli/commands/node.ts", 'const m = await import("../../node/main.ts");'],
    ["anything in a package entry", "src/index.ts", 'export { startNode } from "./node/node.ts";'],
  ])("accepts %s", (_what, path, text) => {
    expect(findImportsToTheRight(plant({ [path]: text }))).toEqual([]);
  });
});

describe("libraries that touch the world stay in adapters", () => {
  test("in this project", () => {
    expect(describeFindings(findWorldLibraries(readProject()))).toEqual([]);
  });

  test.each(["node:fs", "fs", "node:fs/promises", "ws", "level", "node:worker_threads", "node:child_process"])(
    "finds %s in a driver",
    (library) => {
      const files = plant({ "src/storage/blob-store.ts": `// Owns: a sample.\nimport { x } from "${library}";\n` });
      expect(placesOf(findWorldLibraries(files))).toEqual(["src/storage/blob-store.ts:2"]);
    },
  );

  test.each(["src/storage/level-adapter.ts", "src/cli/commands/slice.ts", "src/node/config.ts", "src/api/server.ts"])(
    "accepts them in %s",
    (path) => {
      expect(findWorldLibraries(plant({ [path]: 'import { x } from "node:fs";' }))).toEqual([]);
    },
  );
});
