// Owns: a second build beside the one in dist: the same program, which works with one more version of a cluster.
import { cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
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
  const bundles = join(directory, "dist", "bundle");
  const raise = (_: string, name: string, version: string): string => `${name}${Number(version) + 1};`;
  let places = 0;
  for (const name of (await readdir(bundles)).filter((file) => file.endsWith(".js"))) {
    const before = await readFile(join(bundles, name), "utf8");
    if (!CONSTANT.test(before)) continue;
    await writeFile(join(bundles, name), before.replace(CONSTANT, raise));
    places += 1;
  }
  expect(places, "the one place that says what a build works with").toBe(1);
  return join(bundles, "cli.js");
}
