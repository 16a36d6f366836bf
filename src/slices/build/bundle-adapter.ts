// Owns: making one self-contained ES module out of a slice's sources, with esbuild.
// The result does not depend on where the sources are: no paths, no times, no tsconfig of some parent directory.
import { dirname, join, resolve } from "node:path";
import {
  build, context, type BuildFailure, type BuildOptions, type BuildResult, type Message, type Plugin,
} from "esbuild";
import { AetherError } from "../../base/errors.ts";
import { MODULE_EXTENSION, MODULES } from "../../base/package-files-adapter.ts";

/** Where a mistake is. */
export interface BuildPlace {
  /** Absolute; undefined, as its line is, when the mistake is nowhere in particular. */
  readonly file?: string;
  /** From 1. */
  readonly line?: number;
  readonly column?: number;
  readonly text: string;
}

export interface Bundled {
  readonly bundle: Uint8Array;
  /** The files that it was made of. */
  readonly inputs: readonly string[];
}

/** Bundles one module again and again; what has not changed is not read again. */
export interface Bundler {
  /** @throws AetherError as bundleSlice */
  rebuild(): Promise<Bundled>;
  close(): Promise<void>;
}

/** Bundles the module at `entry`. @throws AetherError E_INVALID with file, line and column of each mistake */
export async function bundleSlice(entry: string): Promise<Uint8Array> {
  return contentOf(dirname(entry), () => build(sliceOptions(entry)));
}

/** Bundles a module of this package. */
export async function bundleOwnModule(name: string): Promise<Uint8Array> {
  const entry = join(MODULES, `${name}${MODULE_EXTENSION}`);
  return contentOf(MODULES, () => build({ ...SHARED_OPTIONS, entryPoints: [entry] }));
}

/** Bundles the module at `entry` as often as it is asked to. */
export async function openBundler(entry: string): Promise<Bundler> {
  const esbuild = await context({ ...sliceOptions(entry), metafile: true });
  return {
    rebuild: async () => {
      let inputs: readonly string[] = [];
      const bundle = await contentOf(dirname(entry), async () => {
        const result = await esbuild.rebuild();
        inputs = Object.keys(result.metafile.inputs).map((file) => resolve(dirname(entry), file));
        return result;
      });
      return { bundle, inputs };
    },
    close: () => esbuild.dispose(),
  };
}

function sliceOptions(entry: string): BuildOptions {
  return {
    ...SHARED_OPTIONS,
    entryPoints: [entry],
    absWorkingDir: dirname(entry),
    // Comments are where esbuild puts the paths of modules. Identifiers stay: stack traces keep their names.
    minifyWhitespace: true,
    minifySyntax: true,
    plugins: [ownPackages(dirname(entry))],
  };
}

const SDK = join(MODULES, "sdk");
const SDK_ENTRIES: Readonly<Record<string, string>> = {
  "aether/slice": join(SDK, `index${MODULE_EXTENSION}`),
  "aether/mcp": join(SDK, "mcp", `index${MODULE_EXTENSION}`),
};

const SHARED_OPTIONS = {
  bundle: true,
  write: false,
  format: "esm",
  platform: "node",
  target: "node20",
  charset: "utf8",
  legalComments: "none",
  sourcemap: false,
  treeShaking: true,
  // Settings of a tsconfig above the slice would make the result depend on the place.
  tsconfigRaw: "{}",
  logLevel: "silent",
  // CommonJS packages inside an ES module need a `require` for what Node has built in.
  banner: {
    js: 'import{createRequire as aetherRequire}from"node:module";const require=aetherRequire(import.meta.url);',
  },
} as const satisfies BuildOptions;

/** `directory` is what the files in messages are relative to. */
async function contentOf(directory: string, run: () => Promise<BuildResult>): Promise<Uint8Array> {
  try {
    const result = await run();
    const [output] = result.outputFiles ?? [];
    if (output === undefined) throw new AetherError("E_INTERNAL", "esbuild ended without a result");
    return output.contents;
  } catch (error) {
    if (!isBuildFailure(error)) throw error;
    throw new AetherError("E_INVALID", `the slice does not build: ${error.errors.map(messageText).join("; ")}`, {
      details: { errors: error.errors.map(messageText), places: error.errors.map((one) => placeOf(directory, one)) },
      cause: error,
    });
  }
}

/**
 * `aether/slice`, `aether/mcp` and zod always come from the package that builds: so a slice needs none of them
 * installed, and one contract shared by two slices has one zod. What `aether/mcp` needs and not everybody installs is
 * the slice's own.
 */
function ownPackages(directory: string): Plugin {
  return {
    name: "aether",
    setup(esbuild) {
      // Free of side effects: a slice carries only what it uses of the SDK.
      esbuild.onResolve({ filter: /^aether($|\/)/ }, ({ path }) => {
        const entry = SDK_ENTRIES[path];
        if (entry !== undefined) return { path: entry, sideEffects: false };
        return { errors: [{ text: `"${path}" cannot be used inside a slice: import from "aether/slice"` }] };
      });
      esbuild.onResolve({ filter: /^@modelcontextprotocol\/sdk\// }, async ({ path, kind, importer, pluginData }) => {
        if (pluginData === OWN || !importer.startsWith(SDK)) return undefined;
        const found = await esbuild.resolve(path, { resolveDir: directory, kind, pluginData: OWN });
        if (found.errors.length === 0) return found;
        const text = '"aether/mcp" needs the package @modelcontextprotocol/sdk: install it beside the slice';
        return { errors: [{ text }] };
      });
      esbuild.onResolve({ filter: /^zod($|\/)/ }, async ({ path, kind, pluginData }) => {
        if (pluginData === OWN) return undefined;
        return esbuild.resolve(path, { resolveDir: MODULES, kind, pluginData: OWN });
      });
    },
  };
}

/** Marks a request as our own, so that it is not taken up again. */
const OWN = Symbol("own");

function isBuildFailure(error: unknown): error is BuildFailure {
  return error instanceof Error && "errors" in error && Array.isArray(error.errors);
}

function messageText({ text, location }: Message): string {
  if (location === null) return text;
  return `${location.file}:${location.line}:${location.column + 1}: ${text}`;
}

function placeOf(directory: string, { text, location }: Message): BuildPlace {
  if (location === null) return { text };
  return { file: resolve(directory, location.file), line: location.line, column: location.column + 1, text };
}
