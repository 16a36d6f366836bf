// Owns: a backup as files of a folder: parts with chunks, and a manifest that is written last, so that a folder without
// one is no backup. Only one backup is written into a folder, and none touches files that are not its own.
// Does not own: what is in a chunk (kvstore).
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { BackupFrameReader, encodeBackupFrame } from "../api/core/backup-frame.ts";
import { AetherError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import { SnapshotCheck } from "../kvstore/core/snapshot-check.ts";
import { SDK_VERSION } from "../sdk/version.ts";

const MANIFEST = "manifest.json";
/** There from the beginning: whoever makes it has the folder. */
const UNFINISHED_MANIFEST = `${MANIFEST}.new`;
const MANIFEST_FORMAT = 1;
/** A part is closed when it has this much. */
const PART_BYTES = 64 * MiB;

const manifestSchema = z.object({
  format: z.literal(MANIFEST_FORMAT, { error: "this version reads backups of format 1: use the one that made it" }),
  cluster: z.string(),
  revision: z.int().min(0),
  stateHash: z.int().min(0),
  rows: z.int().min(0),
  /** Over all chunks; the state of a restored cluster remembers it. */
  digest: z.string(),
  createdBy: z.string(),
  parts: z.array(z.object({ file: z.string().regex(/^part-\d{5}\.bin$/), bytes: z.int(), sha256: z.string() })),
});

export type BackupManifest = z.output<typeof manifestSchema>;

interface OpenPart {
  readonly file: string;
  readonly handle: FileHandle;
  readonly hash: Hash;
  bytes: number;
}

/** Writes one backup. Every chunk is checked as if it were installed. */
export class BackupWriter {
  private readonly directory: string;
  /** The uppermost directory that was made for it. */
  private readonly made: string | undefined;
  private readonly manifest: FileHandle;
  private readonly check = new SnapshotCheck();
  private readonly parts: BackupManifest["parts"] = [];
  private part: OpenPart | undefined;
  private totalBytes = 0;

  /** @throws AetherError E_CONFLICT for a folder that has something in it */
  static async open(directory: string): Promise<BackupWriter> {
    const made = await mkdir(directory, { recursive: true });
    if ((await readdir(directory)).length > 0) throw notEmpty(directory);
    return new BackupWriter({ directory, made, manifest: await claim(directory) });
  }

  private constructor(parts: {
    readonly directory: string;
    readonly made: string | undefined;
    readonly manifest: FileHandle;
  }) {
    this.directory = parts.directory;
    this.made = parts.made;
    this.manifest = parts.manifest;
  }

  get bytes(): number {
    return this.totalBytes;
  }

  get rows(): number {
    return this.check.rows;
  }

  async take(chunk: Uint8Array): Promise<void> {
    this.check.take(chunk);
    const frame = encodeBackupFrame(chunk);
    const part = (this.part ??= await this.openPart());
    // A single write may take less than all of it.
    await part.handle.writeFile(frame);
    part.hash.update(frame);
    part.bytes += frame.length;
    this.totalBytes += frame.length;
    if (part.bytes >= PART_BYTES) await this.closePart(part);
  }

  /** @throws AetherError E_DATA_CORRUPT when the last chunk did not come */
  async finish(): Promise<BackupManifest> {
    const { end } = this.check;
    if (end === undefined) throw new AetherError("E_DATA_CORRUPT", "the backup was cut short: begin again");
    if (this.part !== undefined) await this.closePart(this.part);
    const { cluster, revision, stateHash } = end.checkpoint;
    const manifest: BackupManifest = {
      format: MANIFEST_FORMAT,
      cluster,
      revision,
      stateHash,
      rows: end.rows,
      digest: end.digest,
      createdBy: SDK_VERSION,
      parts: this.parts,
    };
    await this.manifest.writeFile(`${JSON.stringify(manifest, undefined, 2)}\n`);
    await closeSynced(this.manifest);
    await rename(join(this.directory, UNFINISHED_MANIFEST), join(this.directory, MANIFEST));
    await this.syncDirectories();
    return manifest;
  }

  /** Removes what was written. */
  async abort(): Promise<void> {
    const files = [UNFINISHED_MANIFEST, ...this.parts.map(({ file }) => file)];
    if (this.part !== undefined) files.push(this.part.file);
    await this.part?.handle.close();
    await this.manifest.close();
    this.part = undefined;
    for (const file of files) await rm(join(this.directory, file), { force: true });
    if (this.made === undefined) return;
    // ignored: somebody has put something else there meanwhile, which stays
    await rmdir(this.directory).catch(() => undefined);
  }

  /** Up to the one that was there before: a new name is safe when the directory that it is in is synced. */
  private async syncDirectories(): Promise<void> {
    const top = this.made === undefined ? this.directory : dirname(this.made);
    await syncDirectory(this.directory);
    for (let at = this.directory; at !== top; ) {
      at = dirname(at);
      await syncDirectory(at);
    }
  }

  private async openPart(): Promise<OpenPart> {
    const file = `part-${String(this.parts.length + 1).padStart(5, "0")}.bin`;
    const handle = await open(join(this.directory, file), "wx");
    return { file, handle, hash: createHash("sha256"), bytes: 0 };
  }

  private async closePart({ file, handle, hash, bytes }: OpenPart): Promise<void> {
    await closeSynced(handle);
    this.parts.push({ file, bytes, sha256: hash.digest("hex") });
    this.part = undefined;
  }
}

/** Of two backups that begin in one folder at the same time only one gets it. */
async function claim(directory: string): Promise<FileHandle> {
  try {
    return await open(join(directory, UNFINISHED_MANIFEST), "wx");
  } catch (error) {
    throw error instanceof Error && "code" in error && error.code === "EEXIST" ? notEmpty(directory) : error;
  }
}

function notEmpty(directory: string): AetherError {
  const message = `${directory} is not empty: give a backup a folder of its own`;
  return new AetherError("E_CONFLICT", message, { outcome: "not-applied" });
}

/** @throws AetherError E_NOT_FOUND, E_DATA_CORRUPT, E_VERSION */
export async function readBackupManifest(directory: string): Promise<BackupManifest> {
  let text: string;
  try {
    text = await readFile(join(directory, MANIFEST), "utf8");
  } catch (cause) {
    const message = `${directory} has no ${MANIFEST}: it is no backup, or one that was cut short`;
    throw new AetherError("E_NOT_FOUND", message, { cause });
  }
  const parsed = manifestSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  const reason = z.prettifyError(parsed.error).replaceAll(/\s*\n\s*/g, " ");
  throw new AetherError("E_DATA_CORRUPT", `${directory}/${MANIFEST} cannot be used: ${reason}`);
}

/** The chunks of a backup, each part checked against the manifest. @throws AetherError E_DATA_CORRUPT */
export async function* readBackupChunks(directory: string, manifest: BackupManifest): AsyncGenerator<Uint8Array> {
  for (const { file, bytes, sha256 } of manifest.parts) {
    const path = join(directory, file);
    const frames = new BackupFrameReader();
    const hash = createHash("sha256");
    let found = 0;
    for await (const piece of readPieces(path)) {
      hash.update(piece);
      found += piece.length;
      yield* frames.push(piece);
    }
    if (found !== bytes || frames.pendingBytes > 0 || hash.digest("hex") !== sha256) {
      throw new AetherError("E_DATA_CORRUPT", `${path} is not as it was written: use another backup`);
    }
  }
}

async function* readPieces(path: string): AsyncGenerator<Buffer> {
  try {
    yield* createReadStream(path, { highWaterMark: 1 * MiB }) as AsyncIterable<Buffer>;
  } catch (cause) {
    throw new AetherError("E_DATA_CORRUPT", `${path} cannot be read: use another backup`, { cause });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // ignored: what is no JSON does not match the schema either
    return undefined;
  }
}

async function closeSynced(handle: FileHandle): Promise<void> {
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  await closeSynced(await open(directory, "r"));
}
