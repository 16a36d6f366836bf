// Owns: checking the archives of a directory and writing its index, which makes it a source for web servers.
import { readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest } from "../../base/ids.ts";
import { artifactOfArchiveName } from "../../sdk/archive-name.ts";
import { decodeArchive } from "../core/archive.ts";
import { formatSourceIndex, INDEX_NAME } from "../sources/source-index.ts";

export interface IndexedDirectory {
  /** Path of the index. */
  readonly file: string;
  readonly artifacts: readonly ArtifactId[];
}

/** @throws AetherError E_INVALID and others for an archive that is not whole, or not what its name says */
export async function indexDirectory(directory: string): Promise<IndexedDirectory> {
  const digests = new Map<ArtifactId, Digest>();
  for (const name of await readdir(directory)) {
    const artifact = artifactOfArchiveName(name);
    if (artifact === undefined) continue;
    const { manifest, digest } = decodeArchive(await readFile(join(directory, name)));
    if (manifest.artifact !== artifact) {
      throw new AetherError("E_INVALID", `${name} is the archive of ${manifest.artifact}: build it again`);
    }
    digests.set(artifact, digest);
  }
  const file = join(directory, INDEX_NAME);
  const partial = `${file}.${process.pid}.partial`;
  await writeFile(partial, formatSourceIndex(digests));
  // Who downloads it meanwhile gets the old one or the new one.
  await rename(partial, file);
  return { file, artifacts: [...digests.keys()] };
}
