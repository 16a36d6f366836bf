// Owns: a backup from the stream of a running node to files, and from files to the data directory of a node that has
// not started yet. Whatever fails or is interrupted leaves nothing behind.
// Does not own: the files (backup-files.ts), what is in them (kvstore), what people are shown (cli).
import { BackupFrameReader } from "../api/core/backup-frame.ts";
import { AetherError } from "../base/errors.ts";
import type { Seed } from "../kvstore/state-seed.ts";
import { type BackupManifest, BackupWriter, readBackupChunks, readBackupManifest } from "./backup-files.ts";
import { plantState, type PlantTarget } from "./plant-state.ts";

export interface WrittenBackup extends BackupManifest {
  readonly bytes: number;
}

export interface BackupParts {
  readonly directory: string;
  /** Asks for the stream; called once the folder is there. */
  readonly open: () => Promise<AsyncIterable<Uint8Array>>;
  readonly onProgress: (rows: number, bytes: number) => void;
}

/**
 * Writes what `POST /v1/cluster/backup` answers into an empty or new folder.
 * @throws AetherError E_CONFLICT, E_DATA_CORRUPT, E_DISK
 */
export async function writeBackup(parts: BackupParts): Promise<WrittenBackup> {
  try {
    const writer = await BackupWriter.open(parts.directory);
    return await write(writer, parts);
  } catch (error) {
    throw asDiskError(error);
  }
}

async function write(writer: BackupWriter, { open, onProgress }: BackupParts): Promise<WrittenBackup> {
  try {
    const frames = new BackupFrameReader();
    let isFirst = true;
    for await (const bytes of await open()) {
      for (const frame of frames.push(bytes)) {
        // The first one says what follows, which the chunks say too.
        if (!isFirst) await writer.take(frame);
        isFirst = false;
      }
      onProgress(writer.rows, writer.bytes);
    }
    return { ...(await writer.finish()), bytes: writer.bytes };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

export interface RestoreParts extends PlantTarget {
  /** Where the backup is. */
  readonly directory: string;
}

/** @throws AetherError E_NOT_FOUND, E_CONFLICT, E_DATA_CORRUPT, E_VERSION, E_DATA_LOCKED, E_DISK */
export async function restoreBackup(parts: RestoreParts): Promise<Seed> {
  const { directory } = parts;
  const manifest = await readBackupManifest(directory);
  const check = (digest: string | undefined): void => {
    if (digest === manifest.digest) return;
    const message = `the manifest of ${directory} and its parts are not of one backup: use another one`;
    throw new AetherError("E_DATA_CORRUPT", message);
  };
  return plantState({ chunks: readBackupChunks(directory, manifest), revisionGap: 0, check }, parts);
}

/** What the system says of a file. */
function asDiskError(error: unknown): unknown {
  if (error instanceof AetherError || !(error instanceof Error && "syscall" in error)) return error;
  const message = `cannot write the backup: ${error.message}; make room or use another folder, and begin again`;
  return new AetherError("E_DISK", message, { cause: error, outcome: "not-applied" });
}
