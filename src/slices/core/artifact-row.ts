// Owns: the value of rows `artifacts/…`, and how the bytes of an archive lie in chunks `blobs/{sha-256}/…`.
//
// Chunk 0 is written in the transaction that writes the row, chunk 1 is the first that a push writes. So whoever
// removes chunks without a row compares these two: chunk 0 as it was seen means that no row was written meanwhile, and
// chunk 1 gone makes every push fail that had begun before, and begin anew.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseDigest, type Digest } from "../../base/ids.ts";
import { KiB } from "../../base/units.ts";
import { formatKey, type KeyText } from "../../kvstore/core/key.ts";
import { ARCHIVE_BYTES_MAX } from "./archive.ts";
import { parseManifest, type Manifest } from "./manifest.ts";

export const CHUNK_BYTES = 256 * KiB;

export interface ArtifactRow {
  /** sha-256 of the archive. It never changes while the row is there. */
  readonly digest: Digest;
  readonly bytes: number;
  readonly chunks: number;
  /** Wall time of the latest push of these bytes, in milliseconds; 0 when it was not noted. */
  readonly pushedAtMs: number;
  readonly manifest: Manifest;
}

const digest = z.string().transform(parseDigest);
const digestSchema = z.object({ digest });
const rowSchema = z.object({
  digest,
  bytes: z.int().min(1).max(ARCHIVE_BYTES_MAX),
  chunks: z.int().min(1),
  pushedAtMs: z.number().min(0).default(0),
  manifest: z.unknown(),
}).refine(({ bytes, chunks }) => chunks === chunkCount(bytes), { error: "not the chunks of so many bytes" });

/** `what` names the row in errors. @throws AetherError E_DATA_CORRUPT; E_VERSION when a newer version wrote it */
export function parseArtifactRow(what: string, value: unknown): ArtifactRow {
  const parsed = rowSchema.safeParse(value);
  if (!parsed.success) throw corruptArtifact(what, z.prettifyError(parsed.error));
  return { ...parsed.data, manifest: trustStored(what, () => parseManifest(parsed.data.manifest)) };
}

/** The digest of a row of which nothing else may be readable. */
export function digestIn(value: unknown): Digest | undefined {
  return digestSchema.safeParse(value).data?.digest;
}

/** Chunks of an archive of so many bytes. */
export function chunkCount(bytes: number): number {
  return Math.ceil(bytes / CHUNK_BYTES);
}

export function chunkKey(digest: Digest, chunk: number): KeyText {
  return formatKey({ kind: "blob", digest, chunk });
}

/** What was valid when it was stored and is not now is damage, unless a newer version wrote it. */
export function trustStored<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof AetherError && error.code === "E_VERSION") throw error;
    throw corruptArtifact(what, "it does not parse", error);
  }
}

export function corruptArtifact(what: string, reason: string, cause?: unknown): AetherError {
  return new AetherError("E_DATA_CORRUPT", `the stored ${what} cannot be used: ${reason}`, {
    outcome: "none",
    details: { what },
    cause,
  });
}
