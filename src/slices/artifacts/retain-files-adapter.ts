// Owns: removing files that are named by digests nobody needs any more, and what writers that died have left.
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../base/ids.ts";

/** Files are `{digest}{suffix}`; everything else that was written before is removed. Answers how many files. */
export async function retainFiles(
  directory: string,
  suffix: string,
  { kept, writtenBeforeMs }: { readonly kept: ReadonlySet<Digest>; readonly writtenBeforeMs: number },
): Promise<number> {
  const names = new Set([...kept].map((digest) => `${digest}${suffix}`));
  let removed = 0;
  for (const name of await namesIn(directory)) {
    const path = join(directory, name);
    if (names.has(name) || !(await isOlder(path, writtenBeforeMs))) continue;
    await rm(path, { force: true });
    removed++;
  }
  return removed;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch {
    // ignored: it is made when the first file is written.
    return [];
  }
}

async function isOlder(path: string, thanMs: number): Promise<boolean> {
  try {
    const found = await stat(path);
    return found.isFile() && found.mtimeMs < thanMs;
  } catch {
    // ignored: somebody else has removed or renamed it.
    return false;
  }
}
