// Every instance pays for what its worker imports, each time it starts.
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const ENTRY = fileURLToPath(new URL("../../../src/slices/worker/worker-main.ts", import.meta.url));

/** Packages that this file and the files it imports need at run time. */
function packagesOf(file: string, seen: Set<string>): readonly string[] {
  if (seen.has(file)) return [];
  seen.add(file);
  // As compiled: what is imported as a type only is gone.
  const compiled = ts.transpileModule(readFileSync(file, "utf8"), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022, verbatimModuleSyntax: true },
  }).outputText;
  const wanted = ts.preProcessFile(compiled).importedFiles.map(({ fileName }) => fileName);
  return wanted.flatMap((name) => (name.startsWith(".") ? packagesOf(resolve(dirname(file), name), seen) : [name]));
}

test("a worker imports our own small files and Node.js, no library", () => {
  const seen = new Set<string>();
  const packages = packagesOf(ENTRY, seen);
  expect(packages.filter((name) => !name.startsWith("node:"))).toEqual([]);
  expect(seen.size).toBeGreaterThan(20);
});
