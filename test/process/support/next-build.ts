// Owns: a second build beside the one in dist: the same program, which works with one more version of a cluster.
import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const CONSTANT = /(CLUSTER_VERSION_MAX = )(\d+);/;

/** Makes the build in a new directory and returns the path of its command line. */
export async function makeNextBuild(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  await cp(join(ROOT, "dist"), join(directory, "dist"), { recursive: true });
  await cp(join(ROOT, "package.json"), join(directory, "package.json"));
  await symlink(join(ROOT, "node_modules"), join(directory, "node_modules"));
  const file = join(directory, "dist", "consensus", "core", "version.js");
  const before = await readFile(file, "utf8");
  expect(before, "the one place that says what a build works with").toMatch(CONSTANT);
  const raise = (_: string, name: string, version: string): string => `${name}${Number(version) + 1};`;
  await writeFile(file, before.replace(CONSTANT, raise));
  return join(directory, "dist", "cli", "main.js");
}
