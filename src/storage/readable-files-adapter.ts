// Owns: noticing at a start that a table of LevelDB cannot be read. LevelDB maps its tables into memory: a block that
// the disk does not give, or that is gone, ends the process by SIGBUS wherever it is touched, without a word, and a
// start that touches it again would end the same way. So a database says while it is open that it is, and since when.
// A start that finds this, from a start shortly before it, reads all tables with calls that answer.
// Does not own: damage that can be read (level-adapter.ts).
import { type FileHandle, open as openFile, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MiB, MINUTE_MS, SECOND_MS } from "../base/units.ts";
import { failingDisk } from "./failing-disk.ts";

/** LevelDB leaves files alone whose names mean nothing to it. */
const OPEN_MARK = "IN-USE";
const TABLE = /^\d+\.(?:ldb|sst)$/;
const PIECE_BYTES = 1 * MiB;
/** Who ended longer after its start than this did not end for what is touched at a start: large tables are not read. */
const SOON_MS = 10 * MINUTE_MS;

/** @throws AetherError E_DISK when a start a short time ago ended in no order, and a table cannot be read */
export async function markOpen(location: string): Promise<void> {
  const mark = join(location, OPEN_MARK);
  const files = await readdir(location);
  const beforeMs = files.includes(OPEN_MARK) ? (await stat(mark)).mtimeMs : undefined;
  const nowMs = Date.now();
  // Not synced: a power cut may forget it, and then the next end by SIGBUS does not.
  await writeFile(mark, "");
  // Nothing is written into it: its time need not have changed by that.
  await utimes(mark, nowMs / SECOND_MS, nowMs / SECOND_MS);
  if (beforeMs === undefined || Math.abs(nowMs - beforeMs) > SOON_MS) return;
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
