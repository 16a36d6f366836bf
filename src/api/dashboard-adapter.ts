// Owns: the files of the dashboard as `npm run build` left them: read once, small enough to be kept.
// Does not own: what they are (src/dashboard), who is answered with them (server.ts).
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { StaticFile, StaticFiles } from "./static-files.ts";

const PAGE = "index.html";
/** Beside this file in a build; from the sources, where the build puts it. */
const DIRECTORIES = ["../dashboard/", "../../dist/dashboard/"];

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Without a build there is no page: everything else of the API works all the same. */
export function readDashboard(directories: readonly string[] = builtDirectories()): StaticFiles {
  const directory = directories.find((candidate) => existsSync(join(candidate, PAGE)));
  if (directory === undefined) return { page: undefined, files: new Map() };
  const read = (name: string): StaticFile =>
    ({ bytes: readFileSync(join(directory, name)), type: TYPES[extname(name)] ?? "application/octet-stream" });
  const names = readdirSync(directory).filter((name) => name !== PAGE && extname(name) in TYPES);
  return { page: read(PAGE), files: new Map(names.map((name) => [name, read(name)])) };
}

function builtDirectories(): readonly string[] {
  return DIRECTORIES.map((path) => fileURLToPath(new URL(path, import.meta.url)));
}
