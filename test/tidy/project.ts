// Owns: what the tidy rules look at: the project's own text files, read once and handed to rules as plain data.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface TextFile {
  /** From the project's root, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

export interface Finding {
  readonly path: string;
  /** Counted from 1. */
  readonly line: number;
  readonly message: string;
}

export const PROJECT_ROOT = fileURLToPath(new URL("../../", import.meta.url));

const SKIPPED_DIRECTORIES = new Set([".aether", ".git", "coverage", "data", "dist", "dist-test", "node_modules"]);
const TEXT_NAME = /(^|\/)[^/]*(\.(tsx?|js|mjs|json|md|ya?ml|sh|svg|css)|LICENSE|\.gitignore|\.editorconfig|\.npmrc|\.ci\/run)$/;

/** There for links to them; nothing in them is read. */
const PICTURE_NAME = /\.png$/;

/** Every text file of the project, in path order, and pictures without their content. */
export function readProject(root: string = PROJECT_ROOT): readonly TextFile[] {
  return listFiles(root, "")
    .filter((path) => TEXT_NAME.test(path) || PICTURE_NAME.test(path))
    .sort()
    .map((path) => ({ path, text: PICTURE_NAME.test(path) ? "" : readFileSync(join(root, path), "utf8") }));
}

function listFiles(root: string, directory: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = directory === "" ? entry.name : `${directory}/${entry.name}`;
    if (entry.isDirectory()) return SKIPPED_DIRECTORIES.has(entry.name) ? [] : listFiles(root, path);
    return entry.isFile() ? [path] : [];
  });
}

export function isSource(file: TextFile): boolean {
  return file.path.startsWith("src/") && /\.tsx?$/.test(file.path);
}

export function isTest(file: TextFile): boolean {
  return file.path.startsWith("test/") && file.path.endsWith(".ts");
}

/** Documents that readers meet: the README, everything under docs and the pages beside the code. */
export function isDocument(file: TextFile): boolean {
  return file.path.endsWith(".md");
}

export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < offset; at = text.indexOf("\n", at + 1)) line++;
  return line;
}

/** One line per finding, as compilers print it, so that an editor can jump there. */
export function describeFindings(findings: readonly Finding[]): string[] {
  return findings.map((finding) => `${finding.path}:${finding.line} ${finding.message}`);
}
