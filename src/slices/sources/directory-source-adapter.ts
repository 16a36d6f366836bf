// Owns: a directory of archives as a source.
import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest } from "../../base/ids.ts";
import { ARCHIVE_BYTES_MAX } from "../core/archive.ts";
import { archiveNameOf, artifactOfArchiveName, manifestNameOf } from "../../sdk/archive-name.ts";
import { MANIFEST_FILE_BYTES_MAX, type ArtifactSource } from "./artifact-source.ts";
import { checkBytes, readable } from "./source-error.ts";

export function createDirectorySource(directory: string): ArtifactSource {
  async function list(): Promise<ReadonlyMap<ArtifactId, Digest | undefined>> {
    const files = await readable(directory, () => readdir(directory));
    const artifacts = files.flatMap((file) => artifactOfArchiveName(file) ?? []);
    return new Map(artifacts.map((artifact) => [artifact, undefined]));
  }

  async function read(file: string, bytesMax: number, signal?: AbortSignal): Promise<Uint8Array> {
    const path = join(directory, file);
    return readable(path, async () => {
      await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const found = await file.stat();
      // A pipe or a device may have no end.
      if (!found.isFile()) throw new AetherError("E_INVALID", "it is no file");
      checkBytes(found.size, bytesMax);
      return await file.readFile({ signal });
    }, signal);
  }

  return {
    name: directory,
    list,
    manifest: async (artifact, signal) => {
      const file = manifestNameOf(artifact);
      const text = await read(file, MANIFEST_FILE_BYTES_MAX, signal);
      return readable(join(directory, file), () => JSON.parse(new TextDecoder().decode(text)) as unknown);
    },
    archive: (artifact, signal) => read(archiveNameOf(artifact), ARCHIVE_BYTES_MAX, signal),
  };
}
