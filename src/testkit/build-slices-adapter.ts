// Owns: slices for test clusters from their packages: the archives that `aether slice build` makes, and their modules
// as functions that can be called once per instance.
import { fileURLToPath } from "node:url";
import { compileFunction } from "node:vm";
import { transform } from "esbuild";
import { AetherError } from "../base/errors.ts";
import { buildSlice } from "../slices/build/build-slice.ts";
import { decodeArchive } from "../slices/core/archive.ts";
import { createSliceGlobals, SLICE_GLOBALS } from "./sim/slice-globals-adapter.ts";
import type { TestSlice } from "./test-slice.ts";

/**
 * Builds the slice packages in these directories. Once per test file is enough: many clusters may share what it
 * answers.
 * @throws AetherError E_NOT_FOUND, E_INVALID (what is wrong, and where), E_TOO_LARGE
 * @example
 * const slices = await buildSlices(["my-slices/orders", "my-slices/pricing"]);
 */
export function buildSlices(directories: readonly (string | URL)[]): Promise<readonly TestSlice[]> {
  return Promise.all(directories.map((directory) => {
    return buildOne(typeof directory === "string" ? directory : fileURLToPath(directory));
  }));
}

async function buildOne(directory: string): Promise<TestSlice> {
  const { artifact, archive } = await buildSlice({ directory });
  const code = await toFunctionBody(artifact, decodeArchive(archive).bundle);
  const run = compileFunction(code, ["module", "exports", ...SLICE_GLOBALS], { filename: `${artifact}.cjs` }) as Run;
  return {
    artifact,
    archive,
    evaluate: (surroundings) => {
      const globals = createSliceGlobals(surroundings);
      const module: { readonly exports: unknown } = { exports: {} };
      run(module, module.exports, ...SLICE_GLOBALS.map((name) => globals[name]));
      return module.exports;
    },
  };
}

type Run = (...args: readonly unknown[]) => void;

/** An ES module is evaluated once per process; a function as often as there are instances. */
async function toFunctionBody(artifact: string, bundle: Uint8Array): Promise<string> {
  try {
    const { code } = await transform(bundle, {
      format: "cjs",
      platform: "node",
      target: "node20",
      logLevel: "silent",
      define: { "import.meta.url": JSON.stringify(import.meta.url) },
    });
    return code;
  } catch (error) {
    throw new AetherError("E_INVALID", `${artifact} cannot run in a test cluster: does its module await something at ` +
      "its top? Move that into start(ctx)", { cause: error });
  }
}
