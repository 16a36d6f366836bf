// Owns: the programs of systems that Aether is measured beside: installing them into a directory of their own, and what
// a process of theirs says and when it has ended.
import { execFileSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** With npm, from its registry or its cache, running no scripts of theirs. Each source becomes a `.mjs` beside them. */
export async function installRivals(
  directory: string, dependencies: Readonly<Record<string, string>>, sources: readonly URL[],
): Promise<void> {
  writeFileSync(join(directory, "package.json"), JSON.stringify({ private: true, dependencies }));
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"];
  execFileSync("npm", args, { cwd: directory, stdio: ["ignore", "ignore", "inherit"] });
  await build({
    entryPoints: sources.map((source) => fileURLToPath(source)),
    outdir: directory,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "error",
  });
}

/** The first line that counts; others are what a library says of itself. */
export async function firstLine(child: ChildProcess, counts: (line: string) => boolean = () => true): Promise<string> {
  if (child.stdout === null) throw new RangeError("a rival has no output");
  for await (const line of createInterface({ input: child.stdout })) {
    if (counts(line)) return line;
  }
  throw new RangeError(`a rival ended with ${String(child.exitCode)} and without a result`);
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}
