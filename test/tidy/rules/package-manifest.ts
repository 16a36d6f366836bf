// Owns: what package.json promises: files it names exist, packages it ships have their reason in a decision record.
import { z } from "zod";
import { type Finding, isSource, lineAt, type TextFile } from "../project.ts";

const MANIFEST_PATH = "package.json";
const BUNDLES_PATH = "esbuild.config.js";
const BUNDLE = /"([\w-]+)": "(dist\/[\w./-]+\.js)"/g;
const Manifest = z.object({ dependencies: z.record(z.string(), z.string()).default({}) });
const SCRIPT_FILE = /(?<=["\s./])(?:src|test|docs|dist)\/[\w./-]+\.(?:d\.ts|ts|js|mjs)/g;

export function findUnexplainedDependencies(files: readonly TextFile[]): readonly Finding[] {
  const decisions = files.filter((file) => /^docs\/adr\/\d{4}-.*\.md$/.test(file.path)).map((file) => file.text);
  return eachDependency(files, (name) =>
    decisions.some((text) => text.includes(`| \`${name}\` |`))
      ? undefined
      : `${name} has no row in docs/adr: say what it is for and why a hundred lines of ours would not do`,
  );
}

export function findUnusedDependencies(files: readonly TextFile[]): readonly Finding[] {
  const sources = files.filter(isSource).map((file) => file.text);
  return eachDependency(files, (name) =>
    sources.some((text) => text.includes(` "${name}";`) || text.includes(`"${name}/`) || text.includes(`("${name}")`))
      ? undefined
      : `${name} is imported nowhere in src: everyone who installs Aether would download it for nothing`,
  );
}

function eachDependency(
  files: readonly TextFile[],
  object: (name: string) => string | undefined,
): readonly Finding[] {
  return manifestsIn(files).flatMap((manifest) =>
    Object.keys(Manifest.parse(JSON.parse(manifest.text)).dependencies).flatMap((name) => {
      const message = object(name);
      if (message === undefined) return [];
      return [{ path: manifest.path, line: lineAt(manifest.text, manifest.text.indexOf(`"${name}":`)), message }];
    }),
  );
}

/** Entries, commands and scripts lead to files of the project; for a built file its source must be there. */
export function findMissingEntries(files: readonly TextFile[]): readonly Finding[] {
  const known = new Set(files.map((file) => file.path));
  const bundles = bundledModules(files);
  return manifestsIn(files).flatMap((manifest) =>
    [...manifest.text.matchAll(SCRIPT_FILE)].flatMap((match) => {
      const path = (bundles.get(match[0]) ?? match[0]).replace(/^dist\/(.*?)(\.d\.ts|\.js)$/, "src/$1.ts");
      if (known.has(path)) return [];
      return [{ path: manifest.path, line: lineAt(manifest.text, match.index), message: `${path} does not exist` }];
    }),
  );
}

/** By the path of each bundle, that of the compiled module which it begins with: `"cli": "dist/cli/main.js"`. */
function bundledModules(files: readonly TextFile[]): ReadonlyMap<string, string> {
  const config = files.find((file) => file.path === BUNDLES_PATH)?.text ?? "";
  return new Map([...config.matchAll(BUNDLE)].map(([, name, module]) => [`dist/bundle/${name}.js`, module ?? ""]));
}

function manifestsIn(files: readonly TextFile[]): readonly TextFile[] {
  return files.filter((file) => file.path === MANIFEST_PATH);
}
