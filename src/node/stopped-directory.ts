// Owns: a copy of the data directory of a stopped node, to be opened in its place: stores change whatever they open.
// Nothing in the directory itself is changed.
import { constants } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { AetherError, toAetherError } from "../base/errors.ts";
import { ResourceStack } from "../base/resource-stack.ts";
import { createLevelStorePort } from "../storage/level-adapter.ts";

/** The journal of this version and of the first one, and the generations of the state. */
const COPIED = /^(?:journal|wal|kv(?:-\d+)?)$/;
/** What LevelDB locks. */
const LOCK_FILE = "LOCK";

export interface StoppedCopy {
  /** When something was last written to the journal, by the times of its files. */
  readonly lastWriteMs: number;
}

/**
 * Copies what a node needs of `source` to `target`, which must not be there. No node can start on `source` meanwhile.
 * @throws AetherError E_NOT_FOUND, E_CONFLICT, E_DATA_LOCKED while a node runs on it, E_DISK
 */
export async function copyStopped(source: string, target: string): Promise<StoppedCopy> {
  const parts = (await foldersOf(source)).filter((name) => COPIED.test(name));
  if (!parts.includes("journal") && !parts.includes("wal")) {
    throw new AetherError("E_NOT_FOUND", `${source} has no journal: it is no data directory of a node`);
  }
  const locks = new ResourceStack();
  try {
    await lock(source, parts, locks);
    await makeTarget(target);
    await copyParts(source, target, parts);
    return { lastWriteMs: await lastWriteOf(source, parts) };
  } finally {
    await locks.close();
  }
}

/**
 * A lock belongs to the file, whatever the folder that LevelDB found it in: an empty store with a link to the file
 * takes it, and is kept out by whoever has it.
 */
async function lock(source: string, parts: readonly string[], locks: ResourceStack): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "aether-lock-"));
  locks.defer(() => rm(directory, { recursive: true, force: true }));
  const stores = createLevelStorePort(directory);
  for (const [index, file] of (await lockFiles(source, parts)).entries()) {
    const name = `store-${index}`;
    await mkdir(join(directory, name));
    await symlink(resolve(file), join(directory, name, LOCK_FILE));
    try {
      locks.own(await stores.open(name));
    } catch (error) {
      const { code } = toAetherError(error);
      if (code !== "E_DATA_LOCKED") throw error;
      throw new AetherError("E_DATA_LOCKED", `a node runs on ${source}: stop it first`, { cause: error });
    }
  }
}

async function lockFiles(source: string, parts: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const part of parts) {
    for (const file of await readdir(join(source, part), { recursive: true })) {
      if (basename(file) === LOCK_FILE) found.push(join(source, part, file));
    }
  }
  return found;
}

async function makeTarget(target: string): Promise<void> {
  try {
    await mkdir(dirname(target), { recursive: true });
    await mkdir(target);
  } catch (cause) {
    const message = `${target} cannot be made for the working copy: remove what a former attempt has left`;
    throw new AetherError("E_CONFLICT", message, { outcome: "not-applied", cause });
  }
}

async function copyParts(source: string, target: string, parts: readonly string[]): Promise<void> {
  try {
    for (const part of parts) await copyFolder(join(source, part), join(target, part));
  } catch (error) {
    await rm(target, { recursive: true, force: true });
    throw error;
  }
}

async function copyFolder(source: string, target: string): Promise<void> {
  try {
    // Opening and closing a lock file would give up the lock: it is left out.
    const filter = (path: string): boolean => relative(source, path) === "" || basename(path) !== LOCK_FILE;
    await cp(source, target, { recursive: true, mode: constants.COPYFILE_FICLONE, filter });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new AetherError("E_DISK", `cannot copy ${source} (${reason}): see to the space and the rights`, { cause });
  }
}

async function lastWriteOf(source: string, parts: readonly string[]): Promise<number> {
  let latest = 0;
  for (const part of parts.filter((name) => !name.startsWith("kv"))) {
    for (const file of await readdir(join(source, part))) {
      latest = Math.max(latest, (await stat(join(source, part, file))).mtimeMs);
    }
  }
  return latest;
}

async function foldersOf(directory: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (cause) {
    throw new AetherError("E_NOT_FOUND", `${directory} cannot be read: give the data directory of a node`, { cause });
  }
}
