// Owns: the bundle files that workers import: one per content, whole or absent. Does not own: where bundles come from.
import { mkdir, open, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { sha256InTurns } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import type { CopiedFiles } from "../artifacts/local-copies.ts";
import { retainFiles } from "../artifacts/retain-files-adapter.ts";

export interface BundleFiles {
  /** Makes sure that this content, which has this digest, is on disk; answers the URL to import it by. */
  put(bundle: Uint8Array, digest: Digest): Promise<string>;
}

/** Keeps bundles as `{directory}/{sha-256}.mjs`. The directory belongs to one process (the node's data directory). */
export function createBundleFiles(directory: string): BundleFiles & CopiedFiles {
  // Two instances of one artifact that load at once share one write.
  const underWay = new Map<Digest, Promise<string>>();
  return {
    put: (bundle, digest) => {
      const running = underWay.get(digest) ?? putFile(directory, digest, bundle).finally(() => underWay.delete(digest));
      underWay.set(digest, running);
      return running;
    },
    // A worker has imported its file when it is loaded; whoever needs it again has it written again.
    retain: (kept, writtenBeforeMs) => retainFiles(directory, ".mjs", { kept, writtenBeforeMs }),
  };
}

async function putFile(directory: string, digest: Digest, bundle: Uint8Array): Promise<string> {
  const path = join(directory, `${digest}.mjs`);
  if (!(await isIntact(path, digest))) await writeWhole(directory, path, bundle);
  return pathToFileURL(path).href;
}

/** False for an absent file and for one that a crash or a disk has damaged: it is written again. */
async function isIntact(path: string, digest: Digest): Promise<boolean> {
  try {
    return await sha256InTurns(await readFile(path), setImmediate) === digest;
  } catch {
    // ignored: whatever is there that cannot be read, a whole file takes its place; if that fails, it says so.
    return false;
  }
}

async function writeWhole(directory: string, path: string, bundle: Uint8Array): Promise<void> {
  const draft = `${path}.draft`;
  try {
    await mkdir(directory, { recursive: true });
    await using file = await open(draft, "w");
    await file.writeFile(bundle);
    await file.sync();
    await rename(draft, path);
  } catch (error) {
    // ignored: the draft may not exist; the reason to report is `error`.
    await unlink(draft).catch(() => undefined);
    throw unusable(path, error);
  }
}

function unusable(path: string, cause: unknown): AetherError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const message = `cannot keep the bundle at ${path}: ${reason}; check the data directory`;
  return new AetherError("E_UNAVAILABLE", message, { cause });
}
