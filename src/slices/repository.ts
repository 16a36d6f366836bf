// Owns: artifacts in the cluster's own store: rows `artifacts/…` and the chunks of their archives under `blobs/…`.
// R1  An artifact is immutable: its row is written once, by a transaction that requires it to be absent.
// R2  The chunks are there before the row is, so whoever sees the row can read the content.
// R3  Nobody gets bytes that do not have the digest of the row.
// Not here: removing artifacts, and the chunks of a push that never reached its row.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { parseDigest, type ArtifactId, type Digest } from "../base/ids.ts";
import { KiB } from "../base/units.ts";
import type { CallOptions } from "../env/env.ts";
import { formatKey, prefixOf } from "../kvstore/core/key.ts";
import type { KvEntry, Op } from "../kvstore/core/schema.ts";
import type { Kv, KvReadOptions } from "../kvstore/kv.ts";
import type { BlobCache } from "./blob-cache.ts";
import { ARCHIVE_BYTES_MAX, decodeArchive, type SliceArchive } from "./core/archive.ts";
import { parseManifest, type Manifest } from "./core/manifest.ts";
import { listRows } from "./list-rows.ts";

export interface RepositoryPorts {
  readonly kv: Kv;
  /** This node's copies; absent on clients that fetch nothing twice. */
  readonly cache?: BlobCache;
}

export interface PushOptions extends CallOptions {
  /** The coordinates the caller means to write. */
  readonly expect?: ArtifactId;
}

export interface PushedArtifact {
  readonly artifact: ArtifactId;
  /** sha-256 of the archive. */
  readonly digest: Digest;
}

export interface ArtifactSummary extends PushedArtifact {
  readonly bytes: number;
  readonly manifest: Manifest;
}

export interface FetchedArtifact {
  readonly manifest: Manifest;
  /** One self-contained ES module. */
  readonly bundle: Uint8Array;
  /** sha-256 of the bundle, which names its file on a node. */
  readonly digest: Digest;
}

const CHUNK_BYTES = 256 * KiB;
/** A transaction takes 1 MiB: three chunks and their keys. */
const CHUNKS_PER_TRANSACTION = 3;

const rowSchema = z.object({
  digest: z.string().transform(parseDigest),
  bytes: z.int().min(1).max(ARCHIVE_BYTES_MAX),
  chunks: z.int().min(1),
  manifest: z.unknown(),
});

interface ArtifactRow {
  readonly digest: Digest;
  readonly bytes: number;
  readonly chunks: number;
  readonly manifest: Manifest;
}

/** Stores slice archives in the cluster and fetches them from there. */
export class ArtifactRepository {
  private readonly kv: Kv;
  private readonly cache: BlobCache | undefined;

  constructor(ports: RepositoryPorts) {
    this.kv = ports.kv;
    this.cache = ports.cache;
  }

  /**
   * Stores an archive. Pushing the same bytes again, also at the same time, is fine.
   * @throws AetherError E_INVALID, E_VERSION, E_TOO_LARGE for a bad archive; E_CONFLICT when other bytes have its name.
   */
  async push(archive: Uint8Array, options: PushOptions = {}): Promise<PushedArtifact> {
    const { manifest, digest } = decodeArchive(archive);
    const { artifact } = manifest;
    if (options.expect !== undefined && options.expect !== artifact) {
      throw new AetherError("E_INVALID", `the archive is ${artifact}, but ${options.expect} was to be written`);
    }
    const held = await this.readRow(artifact, options);
    if (held !== undefined) return sameOrConflict(artifact, digest, held);

    const chunks = await this.writeChunks(digest, archive, options);
    const key = formatKey({ kind: "artifact", artifact });
    const row = { digest, bytes: archive.byteLength, chunks, manifest };
    const written = await this.kv.transact({
      compare: [{ key, target: "exists", op: "=", value: false }],
      then: [{ kind: "put", key, value: row }],
      else: [{ kind: "get", key }],
    }, options);
    if (written.succeeded) return { artifact, digest };
    const [found] = written.results;
    const winner = found?.kind === "get" ? found.entry : undefined;
    return sameOrConflict(artifact, digest, winner === undefined ? undefined : parseRow(winner));
  }

  /**
   * The verified content of an artifact, from this node's cache or from the store.
   * @throws AetherError E_NOT_FOUND, or E_DATA_CORRUPT when what is stored does not have its digest.
   */
  async fetch(artifact: ArtifactId, options: CallOptions = {}): Promise<FetchedArtifact> {
    const row = await this.requireRow(artifact, options);
    const cached = await this.cache?.read(row.digest);
    const archive = cached ?? await this.readChunks(artifact, row, options);
    const { manifest, bundle } = decodeStored(artifact, row.digest, archive);
    if (cached === undefined) await this.keep(row.digest, archive);
    return { manifest, bundle, digest: manifest.digest };
  }

  /** What the cluster knows of an artifact. @throws AetherError E_NOT_FOUND */
  async manifest(artifact: ArtifactId, options: CallOptions = {}): Promise<Manifest> {
    return (await this.requireRow(artifact, options)).manifest;
  }

  /** All artifacts, in the order of their coordinates. */
  async list(options: KvReadOptions = {}): Promise<readonly ArtifactSummary[]> {
    const entries = await listRows(this.kv, prefixOf({ kind: "artifacts" }), options);
    return entries.map((entry) => {
      const { digest, bytes, manifest } = parseRow(entry);
      return { artifact: manifest.artifact, digest, bytes, manifest };
    });
  }

  private async writeChunks(digest: Digest, archive: Uint8Array, options: CallOptions): Promise<number> {
    const puts: Op[] = [];
    for (let from = 0; from < archive.byteLength; from += CHUNK_BYTES) {
      const key = formatKey({ kind: "blob", digest, chunk: puts.length });
      puts.push({ kind: "put", key, value: archive.subarray(from, from + CHUNK_BYTES) });
    }
    for (let from = 0; from < puts.length; from += CHUNKS_PER_TRANSACTION) {
      options.signal?.throwIfAborted();
      await this.kv.transact({ compare: [], then: puts.slice(from, from + CHUNKS_PER_TRANSACTION), else: [] }, options);
    }
    return puts.length;
  }

  private async readChunks(artifact: ArtifactId, row: ArtifactRow, options: CallOptions): Promise<Uint8Array> {
    const archive = new Uint8Array(row.bytes);
    let at = 0;
    for (let chunk = 0; chunk < row.chunks; chunk++) {
      options.signal?.throwIfAborted();
      const key = formatKey({ kind: "blob", digest: row.digest, chunk });
      // Local is enough (R2): this node has applied the row, so it has applied the chunks.
      const { entry } = await this.kv.get(key, { ...options, consistency: "local" });
      if (!(entry?.value instanceof Uint8Array) || at + entry.value.byteLength > row.bytes) {
        throw corrupt(artifact, `chunk ${chunk} is missing or too long`);
      }
      archive.set(entry.value, at);
      at += entry.value.byteLength;
    }
    return archive;
  }

  private async keep(digest: Digest, archive: Uint8Array): Promise<void> {
    try {
      await this.cache?.write(digest, archive);
    } catch {
      // ignored: the cache saves work and nothing else; the next fetch reads from the store again.
    }
  }

  private async requireRow(artifact: ArtifactId, options: CallOptions): Promise<ArtifactRow> {
    // Rows never change (R1), so one that is here is right; only absence must be asked of a quorum.
    const local = await this.readRow(artifact, { ...options, consistency: "local" });
    const row = local ?? await this.readRow(artifact, options);
    if (row !== undefined) return row;
    throw new AetherError("E_NOT_FOUND", `there is no artifact ${artifact}: push it first`, {
      outcome: "none",
      details: { artifact },
    });
  }

  private async readRow(artifact: ArtifactId, options: KvReadOptions): Promise<ArtifactRow | undefined> {
    const { entry } = await this.kv.get(formatKey({ kind: "artifact", artifact }), options);
    return entry === undefined ? undefined : parseRow(entry);
  }
}

function parseRow(entry: KvEntry): ArtifactRow {
  const parsed = rowSchema.safeParse(entry.value);
  if (!parsed.success) throw corrupt(entry.key, z.prettifyError(parsed.error));
  return { ...parsed.data, manifest: trustStored(entry.key, () => parseManifest(parsed.data.manifest)) };
}

function sameOrConflict(artifact: ArtifactId, digest: Digest, held: ArtifactRow | undefined): PushedArtifact {
  if (held?.digest === digest) return { artifact, digest };
  throw new AetherError("E_CONFLICT", `${artifact} exists with other content and never changes: raise the version`, {
    details: { artifact, digest, held: held?.digest },
  });
}

function decodeStored(artifact: ArtifactId, digest: Digest, bytes: Uint8Array): SliceArchive {
  const archive = trustStored(artifact, () => decodeArchive(bytes));
  if (archive.digest !== digest) throw corrupt(artifact, "its archive does not have its digest");
  if (archive.manifest.artifact !== artifact) throw corrupt(artifact, "its archive is another artifact's");
  return archive;
}

/** What was valid when it was stored and is not now is damage, unless a newer version wrote it. */
function trustStored<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof AetherError && error.code === "E_VERSION") throw error;
    throw corrupt(what, "it does not parse", error);
  }
}

function corrupt(what: string, reason: string, cause?: unknown): AetherError {
  return new AetherError("E_DATA_CORRUPT", `the stored ${what} cannot be used: ${reason}`, {
    outcome: "none",
    details: { what },
    cause,
  });
}
