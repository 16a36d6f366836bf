// Owns: noticing at a start that a table of LevelDB cannot be read. LevelDB maps its tables into memory: a block that
// the disk does not give, or that is gone, ends the process by SIGBUS wherever it is touched, without a word, and each
// start would end the same way. So a database says while it is open that it is, and after an end that left this behind
// its tables are read with calls that answer.
// Does not own: damage that can be read (level-adapter.ts).
import { type FileHandle, open as openFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MiB } from "../base/units.ts";
import { failingDisk } from "./failing-disk.ts";

/** LevelDB leaves files alone whose names mean nothing to it. */
const OPEN_MARK = "IN-USE";
const TABLE = /^\d+\.(?:ldb|sst)$/;
const PIECE_BYTES = 1 * MiB;

/** @throws AetherError E_DISK when the last end was no close, and a table of this database cannot be read */
export async function markOpen(location: string): Promise<void> {
  const files = await readdir(location);
  // Not synced: a power cut may forget it, and then the next end by SIGBUS does not.
  if (!files.includes(OPEN_MARK)) return writeFile(join(location, OPEN_MARK), "");
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  for (const file of files) if (TABLE.test(file)) await readThrough(join(location, file), piece);
}

/** After everything of the database is closed. */
export async function markClosed(location: string): Promise<void> {
  // ignored: the next start reads the tables once for nothing
  await rm(join(location, OPEN_MARK), { force: true }).catch(() => undefined);
}

async function readThrough(path: string, piece: Buffer): Promise<void> {
  const file = await openTable(path);
  if (file === undefined) return;
  try {
    let read = piece.byteLength;
    while (read > 0) read = (await file.read(piece, 0, piece.byteLength, null)).bytesRead;
  } catch (error) {
    throw failingDisk(path, error);
  } finally {
    await file.close();
  }
}

/** Undefined when it is gone: another process has the database, or LevelDB will say that it misses it. */
async function openTable(path: string): Promise<FileHandle | undefined> {
  try {
    return await openFile(path, "r");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
