// Owns: a directory of files named by their sha-256. A file appears whole or not at all, and is verified when read.
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { sha256InTurns } from "../../base/digest.ts";
import type { Digest } from "../../base/ids.ts";
import type { BlobCache } from "./blob-cache.ts";
import type { CopiedFiles } from "./local-copies.ts";
import { retainFiles } from "./retain-files-adapter.ts";

/** A cache in `directory`, which is created when first needed. Nothing else may write there. */
export function createDirectoryBlobCache(directory: string): BlobCache & CopiedFiles {
  // Two writers of one digest, also of two processes, each need a file of their own until the rename.
  let writes = 0;

  async function read(digest: Digest): Promise<Uint8Array | undefined> {
    let bytes: Uint8Array;
    try {
      bytes = await readFile(join(directory, digest));
    } catch {
      // ignored: not here, or not readable, is the same for a cache: the bytes are fetched again.
      return undefined;
    }
    // Damaged: what is fetched again takes its place.
    return await sha256InTurns(bytes, setImmediate) === digest ? bytes : undefined;
  }

  async function write(digest: Digest, bytes: Uint8Array): Promise<void> {
    await mkdir(directory, { recursive: true });
    const partial = join(directory, `${digest}.${process.pid}-${++writes}.partial`);
    try {
      // Not synced: a file that a power cut left torn is found by its digest and fetched again.
      await writeFile(partial, bytes);
      await rename(partial, join(directory, digest));
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
  }

  return { read, write, retain: (kept, writtenBeforeMs) => retainFiles(directory, "", { kept, writtenBeforeMs }) };
}
