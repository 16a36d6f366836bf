// Owns: reading the files that make a directory a slice package.
import { readdir, readFile, realpath } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { AetherError } from "../../base/errors.ts";
import { mainOutside, readSlicePackage, type SlicePackage } from "./slice-package.ts";

/** Reads and checks the slice package in `directory`. @throws AetherError E_NOT_FOUND, E_INVALID */
export async function openSlicePackage(directory: string): Promise<SlicePackage> {
  const absolute = resolve(directory);
  const files = await readdir(absolute).catch((error: unknown) => {
    throw new AetherError("E_NOT_FOUND", `cannot read the directory ${absolute}: does it exist?`, { cause: error });
  });
  const readIfThere = (name: string): Promise<unknown> =>
    files.includes(name) ? readJson(join(absolute, name)) : Promise.resolve(undefined);
  const slicePackage = readSlicePackage({
    directory: absolute,
    aetherJson: await readIfThere("aether.json"),
    packageJson: await readIfThere("package.json"),
    files: new Set(files),
  });
  if (await leadsOutside(slicePackage)) throw mainOutside(absolute, slicePackage.main);
  return slicePackage;
}

/** By a symbolic link. A file that is not there is for the bundler to name. */
async function leadsOutside({ directory, main }: SlicePackage): Promise<boolean> {
  // ignored: a file that cannot be followed is one that cannot be built either.
  const target = await realpath(join(directory, main)).catch(() => undefined);
  return target !== undefined && !target.startsWith(`${await realpath(directory)}${sep}`);
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new AetherError("E_INVALID", `${file} cannot be read as JSON: ${reason}`, { cause: error });
  }
}
