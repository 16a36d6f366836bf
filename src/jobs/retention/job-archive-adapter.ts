// Owns: an archive of jobs: files in folders by the month in which they ended. A file appears whole or not at all.
// Does not own: the lines (job-export.ts); `aether job verify FILE` reads them.
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { makeDirectory, syncDirectory } from "../../storage/directory-adapter.ts";
import type { JobArchive } from "./job-archive.ts";

const UID_CHARACTERS = 8;
const MONTH_CHARACTERS = "2026-01".length;

/** An archive in `directory`, which is made when it is first needed. */
export function createJobArchive(directory: string): JobArchive {
  return {
    keep: async ({ job, uid, endedMs }, lines) => {
      const month = join(directory, new Date(endedMs).toISOString().slice(0, MONTH_CHARACTERS));
      await makeDirectory(month);
      // An id can be used again once its job is forgotten; the uid is another one.
      const path = join(month, `${job}.${uid.slice(0, UID_CHARACTERS)}.jsonl`);
      const partial = `${path}.${process.pid}.partial`;
      try {
        await write(partial, lines);
        await rename(partial, path);
      } catch (error) {
        await rm(partial, { force: true });
        throw error;
      }
      await syncDirectory(month);
    },
  };
}

async function write(path: string, lines: AsyncIterable<string>): Promise<void> {
  const file = await open(path, "w");
  try {
    for await (const line of lines) await file.write(line);
    await file.sync();
  } finally {
    await file.close();
  }
}
