// Owns: what a slice package says about itself, in `aether.json` or in the field "aether" of `package.json`.
import { isAbsolute, normalize, sep } from "node:path";
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseArtifactId, type ArtifactId } from "../../base/ids.ts";
import { parseArtifactReference } from "../core/version.ts";

/** A slice package, read and checked. */
export interface SlicePackage {
  readonly directory: string;
  readonly artifact: ArtifactId;
  /** Entry file, relative to the directory; its default export is the slice. */
  readonly main: string;
  /** Which artifacts will do for what the slice uses, by the slice's own name for it: `group:name@range`. */
  readonly uses: Readonly<Record<string, string>>;
}

/** The files of a package directory as found. */
export interface SlicePackageFiles {
  readonly directory: string;
  /** Parsed JSON; undefined when there is no such file. */
  readonly aetherJson: unknown;
  readonly packageJson: unknown;
  /** Names of the files directly in the directory. */
  readonly files: ReadonlySet<string>;
}

const ENTRIES = ["slice.ts", "slice.js", "slice.mjs", "index.ts", "index.js", "index.mjs"];

const settings = {
  artifact: z.string().regex(/^[^:]+:[^:]+$/, { error: "use group:name, for example demo:orders" }),
  main: z.string().min(1).optional(),
  uses: z.record(z.string(), z.string()).default({}),
};

const aetherJsonSchema = z.strictObject({ ...settings, version: z.string() });
const packageJsonSchema = z.object({
  name: z.string().optional(),
  version: z.string({ error: "a version such as 1.0.0 is required" }),
  main: z.string().min(1).optional(),
  aether: z.strictObject({ ...settings, artifact: settings.artifact.optional() }).optional(),
});

/** @throws AetherError E_INVALID saying which file lacks what */
export function readSlicePackage(found: SlicePackageFiles): SlicePackage {
  const stated = found.aetherJson === undefined ? fromPackageJson(found) : fromAetherJson(found);
  const main = stated.main ?? ENTRIES.find((entry) => found.files.has(entry));
  if (main === undefined) {
    throw new AetherError("E_INVALID", `${found.directory} has no slice: expected slice.ts, index.ts or "main"`);
  }
  // What is built is what the package holds, wherever the package lies.
  if (isAbsolute(main) || normalize(main).split(sep).includes("..")) {
    throw mainOutside(found.directory, main);
  }
  for (const [alias, text] of Object.entries(stated.uses)) checkUse(found.directory, alias, text);
  return { directory: found.directory, artifact: stated.artifact, main, uses: stated.uses };
}

/** The entry file is not in the package's directory. */
export function mainOutside(directory: string, main: string): AetherError {
  const message = `"main" is ${JSON.stringify(main)}, which is outside of the package ${directory}: move it there`;
  return new AetherError("E_INVALID", message, { details: { issues: [{ path: ["main"], message }] } });
}

type Stated = Pick<SlicePackage, "artifact" | "uses"> & { readonly main: string | undefined };

function fromAetherJson({ directory, aetherJson }: SlicePackageFiles): Stated {
  const { artifact, version, main, uses } = parseFile(aetherJsonSchema, aetherJson, `${directory}/aether.json`);
  return { artifact: parseArtifactId(`${artifact}:${version}`), main, uses };
}

function fromPackageJson({ directory, packageJson }: SlicePackageFiles): Stated {
  if (packageJson === undefined) {
    const reason = "it has neither aether.json nor package.json";
    throw new AetherError("E_INVALID", `${directory} is not a slice package: ${reason}`);
  }
  const file = `${directory}/package.json`;
  const { name = "", version, main, aether } = parseFile(packageJsonSchema, packageJson, file);
  const [, group, ownName] = /^@([^/]+)\/([^/]+)$/.exec(name) ?? [];
  const artifact = aether?.artifact ?? (group === undefined ? undefined : `${group}:${ownName ?? ""}`);
  if (artifact === undefined) {
    throw new AetherError("E_INVALID", `${file} does not say which artifact it is: name the package "@group/name", ` +
      'or add "aether": { "artifact": "group:name" }');
  }
  return { artifact: parseArtifactId(`${artifact}:${version}`), main: aether?.main ?? main, uses: aether?.uses ?? {} };
}

function parseFile<T>(schema: z.ZodType<T>, value: unknown, file: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new AetherError("E_INVALID", `${file} is not usable: ${z.prettifyError(parsed.error)}`);
}

function checkUse(directory: string, alias: string, text: string): void {
  try {
    parseArtifactReference(text);
  } catch (error) {
    throw new AetherError("E_INVALID", `${directory}: "uses" has a bad entry for "${alias}": use group:name@range`, {
      cause: error,
    });
  }
}
