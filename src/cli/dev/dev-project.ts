// Owns: what a directory of development holds, as files: blueprints, and one directory per slice package beside them.
// Does not own: building the packages.
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { LineCounter, parseDocument, type Document } from "yaml";
import { AetherError } from "../../base/errors.ts";
import type { SchemaIssue } from "../../base/schema-issues.ts";
import { parseBlueprintDocument, type BlueprintDocument } from "../../sdk/blueprint.ts";

export interface DevBlueprint {
  readonly file: string;
  /** Its own, or that of its file. */
  readonly name: string;
  readonly document: BlueprintDocument;
}

export interface DevProject {
  /** Directories of the slice packages. */
  readonly packages: readonly string[];
  readonly blueprints: readonly DevBlueprint[];
}

/** A mistake in a file. */
export interface FileMistake {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  readonly text: string;
}

const BLUEPRINT_FILE = /\.ya?ml$/;

/**
 * The slice packages directly below the directory, and its YAML files that have `slices`.
 * @throws AetherError E_INVALID, with `details.places`, for a file that cannot be understood
 */
export async function readDevProject(directory: string): Promise<DevProject> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    throw new AetherError("E_NOT_FOUND", `cannot read the directory ${directory}: does it exist?`, { cause: error });
  });
  const names = entries.map(({ name }) => name).filter((name) => !name.startsWith(".")).sort();
  const packages: string[] = [];
  const blueprints: DevBlueprint[] = [];
  for (const path of names.map((name) => join(directory, name))) {
    if (await isSlicePackage(path)) packages.push(path);
    if (!BLUEPRINT_FILE.test(path) || !(await isFile(path))) continue;
    const blueprint = readBlueprint(path, await readFile(path, "utf8"));
    if (blueprint !== undefined) blueprints.push(blueprint);
  }
  return { packages, blueprints };
}

async function isSlicePackage(directory: string): Promise<boolean> {
  if (await isFile(join(directory, "aether.json"))) return true;
  // A package.json alone may be anybody's.
  const text = await readFile(join(directory, "package.json"), "utf8").catch(() => "");
  return /"aether"\s*:\s*\{/.test(text);
}

async function isFile(path: string): Promise<boolean> {
  // ignored: what cannot be looked at is not there
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}

/** Undefined for a YAML file that is no blueprint. */
function readBlueprint(file: string, text: string): DevBlueprint | undefined {
  const lines = new LineCounter();
  const yaml = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [broken] = yaml.errors;
  if (broken !== undefined) throw mistake([placeAt(lines, file, broken.pos[0], broken.message)]);
  if (!yaml.has("slices")) return undefined;
  try {
    const document = parseBlueprintDocument(yaml.toJS());
    return { file, name: document.name ?? basename(file, extname(file)), document };
  } catch (error) {
    if (!(error instanceof AetherError)) throw error;
    const issues = (error.details["issues"] ?? []) as readonly SchemaIssue[];
    throw mistake(issues.map(({ path, message }) =>
      placeAt(lines, file, offsetOf(yaml, path), `${path.join(".")}: ${message}`)));
  }
}

/** Where the thing is, or what it should be in. */
function offsetOf(yaml: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const node: unknown = yaml.getIn(path.slice(0, length), true);
    if (typeof node === "object" && node !== null && "range" in node && Array.isArray(node.range)) {
      return Number(node.range[0]);
    }
  }
  return 0;
}

function placeAt(lines: LineCounter, file: string, offset: number, text: string): FileMistake {
  const { line, col: column } = lines.linePos(offset);
  return { file, line: Math.max(1, line), column: Math.max(1, column), text };
}

function mistake(places: readonly FileMistake[]): AetherError {
  const told = places.map(({ file, line, column, text }) => `${file}:${line}:${column}: ${text}`).join("; ");
  return new AetherError("E_INVALID", `a blueprint cannot be understood: ${told}`, { details: { places } });
}
