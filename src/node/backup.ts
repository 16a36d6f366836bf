// Owns: a backup from the stream of a running node to files, and from files to the data directory of a node that has
// not started yet. Whatever fails or is interrupted leaves nothing behind.
// Does not own: the files (backup-files.ts), what is in them (kvstore), what people are shown (cli).
import { readdir, rm } from "node:fs/promises";
import { BackupFrameReader } from "../api/core/backup-frame.ts";
import { AetherError } from "../base/errors.ts";
import { type Seed, StateSeed } from "../kvstore/state-seed.ts";
import { createLevelStorePort } from "../storage/level-adapter.ts";
import { type BackupManifest, BackupWriter, readBackupChunks, readBackupManifest } from "./backup-files.ts";

export interface WrittenBackup extends BackupManifest {
  readonly bytes: number;
}

/**
 * Writes what `POST /v1/cluster/backup` answers into an empty or new folder.
 * @throws AetherError E_CONFLICT, E_DATA_CORRUPT
 */
export async function writeBackup(parts: {
  readonly directory: string;
  /** Asks for the stream; called once the folder is there. */
  open(): Promise<AsyncIterable<Uint8Array>>;
  onProgress(rows: number, bytes: number): void;
}): Promise<WrittenBackup> {
  const writer = await BackupWriter.open(parts.directory);
  try {
    const frames = new BackupFrameReader();
    let isFirst = true;
    for await (const bytes of await parts.open()) {
      for (const frame of frames.push(bytes)) {
        // The first one says what follows, which the chunks say too.
        if (!isFirst) await writer.take(frame);
        isFirst = false;
      }
      parts.onProgress(writer.rows, writer.bytes);
    }
    return { ...(await writer.finish()), bytes: writer.bytes };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

export interface RestoreParts {
  /** Where the backup is. */
  readonly directory: string;
  /** Of the node: new, or without stores. */
  readonly dataDir: string;
  /** Name of the new cluster. */
  readonly cluster: string;
  readonly signal: AbortSignal;
  onProgress(rows: number, bytes: number): void;
}

/** @throws AetherError E_NOT_FOUND, E_CONFLICT, E_DATA_CORRUPT, E_VERSION, E_DATA_LOCKED, E_DISK */
export async function restoreBackup(parts: RestoreParts): Promise<Seed> {
  const { directory, dataDir, cluster } = parts;
  const manifest = await readBackupManifest(directory);
  const wasEmpty = (await filesOf(dataDir)).length === 0;
  const stores = createLevelStorePort(dataDir);
  const seed = await StateSeed.open(stores, cluster);
  try {
    return await plant(seed, manifest, parts);
  } catch (error) {
    await stores.destroy("kv");
    if (wasEmpty) await rm(dataDir, { recursive: true, force: true });
    throw error;
  }
}

async function plant(seed: StateSeed, manifest: BackupManifest, parts: RestoreParts): Promise<Seed> {
  const { directory, signal, onProgress } = parts;
  try {
    let bytes = 0;
    for await (const chunk of readBackupChunks(directory, manifest)) {
      signal.throwIfAborted();
      await seed.take(chunk);
      bytes += chunk.length;
      onProgress(seed.rows, bytes);
    }
    if (seed.digest === manifest.digest) return await seed.finish();
    const message = `the manifest of ${directory} and its parts are not of one backup: use another one`;
    throw new AetherError("E_DATA_CORRUPT", message);
  } finally {
    await seed.close();
  }
}

async function filesOf(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch {
    // ignored: what is not there has no files
    return [];
  }
}
