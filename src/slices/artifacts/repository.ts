// Owns: artifacts in the cluster's own store: rows `artifacts/…` and the chunks of their archives under `blobs/…`.
// R1  An artifact is immutable: its row is made by a transaction that requires it to be absent, and its digest stays.
// R2  All chunks are there when the row is, so whoever sees the row can read the content.
// R3  Nobody gets bytes that do not have the digest of the row.
// Not here: removing artifacts, and the chunks of a push that never reached its row (artifact-removal.ts).
import { sha256InTurns } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest } from "../../base/ids.ts";
import { HOUR_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { CallOptions } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, knownKey, prefixOf } from "../../kvstore/core/key.ts";
import type { Compare, Op } from "../../kvstore/core/schema.ts";
import type { Kv, KvReadOptions } from "../../kvstore/kv.ts";
import type { BlobCache } from "./blob-cache.ts";
import { checkBundle, openArchive, type SliceArchive } from "../core/archive.ts";
import {
  CHUNK_BYTES, chunkCount, chunkKey, corruptArtifact, digestIn, parseArtifactRow, trustStored, type ArtifactRow,
} from "../core/artifact-row.ts";
import { isDamage } from "../core/damaged-row.ts";
import type { Manifest } from "../core/manifest.ts";
import { checkNewManifest } from "../core/manifest-rules.ts";
import { listRows } from "../list-rows.ts";
import { checkSchedules } from "../blueprints/schedule-rules.ts";

export interface RepositoryPorts {
  readonly kv: Kv;
  /** Says when an artifact was pushed. */
  readonly clock: Pick<Clock, "wallMs">;
  /** This node's copies; absent on clients that fetch nothing twice. */
  readonly cache?: BlobCache;
  /** Called between parts of long work; absent where nobody else needs the thread. */
  readonly pause?: () => Promise<void>;
}

export interface PushOptions extends CallOptions {
  /** The coordinates the caller means to write. */
  readonly expect?: ArtifactId;
  /** sha-256 that the archive is said to have. */
  readonly digest?: Digest;
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

/** An artifact whose row this build cannot read. Pushing it again writes the row anew. */
export interface DamagedArtifact {
  readonly artifact: ArtifactId;
  /** What is wrong with it, for people. */
  readonly damage: string;
}

export interface FetchedArtifact {
  readonly manifest: Manifest;
  /** One self-contained ES module. */
  readonly bundle: Uint8Array;
  /** sha-256 of the bundle, which names its file on a node. */
  readonly digest: Digest;
}

/** A transaction takes 1 MiB: three chunks and their keys. */
const CHUNKS_PER_TRANSACTION = 3;
/** Chunks read without a pause: some may be in memory, and then each takes its time of this thread alone. */
const CHUNKS_PER_TURN = 8;
/** Pushes again when what it had written was removed meanwhile; more than this is a fight, not a coincidence. */
const PUSH_ATTEMPTS_MAX = 5;
/** A push of what is there says that it is wanted, and is noted if the latest one is so long ago. */
const NOTE_AGAIN_AFTER_MS = HOUR_MS;

/** A row and the revision that guards writes to it. */
interface FoundRow {
  readonly row: ArtifactRow;
  readonly modRevision: number;
}

/** What stands where a push is to write. */
interface HeldRow {
  /** Undefined for an absent row, and for a damaged one. */
  readonly row: ArtifactRow | undefined;
  /** Of a damaged row, if that much of it can be read. */
  readonly digest: Digest | undefined;
  /** 0 for an absent row. */
  readonly modRevision: number;
}

/** Stores slice archives in the cluster and fetches them from there. */
export class ArtifactRepository {
  private readonly kv: Kv;
  private readonly clock: RepositoryPorts["clock"];
  private readonly cache: BlobCache | undefined;
  private readonly pause: () => Promise<void>;
  /** Instances of one artifact that load at once share the work, and the memory that it takes. */
  private readonly fetches = new Map<Digest, Promise<FetchedArtifact>>();

  constructor(ports: RepositoryPorts) {
    this.kv = ports.kv;
    this.clock = ports.clock;
    this.cache = ports.cache;
    this.pause = ports.pause ?? (() => Promise.resolve());
  }

  /**
   * Stores an archive. Pushing the same bytes again, also at the same time, is fine.
   * @throws AetherError E_INVALID, E_VERSION, E_TOO_LARGE for a bad archive, with nothing written; E_CONFLICT when
   *   other bytes have its name.
   */
  async push(archive: Uint8Array, options: PushOptions = {}): Promise<PushedArtifact> {
    const { manifest, bundle } = openArchive(archive);
    checkNewManifest(manifest);
    checkSchedules(manifest);
    const { artifact } = manifest;
    if (options.expect !== undefined && options.expect !== artifact) {
      throw new AetherError("E_INVALID", `the archive is ${artifact}, but ${options.expect} was to be written`);
    }
    checkBundle(manifest, await sha256InTurns(bundle, this.pause));
    const digest = await sha256InTurns(archive, this.pause);
    if (options.digest !== undefined && options.digest !== digest) {
      throw new AetherError("E_INVALID", `the archive of ${artifact} does not have the sha-256 that was told`);
    }
    const decoded = { manifest, bundle, digest };
    for (let attempt = 1; attempt <= PUSH_ATTEMPTS_MAX; attempt++) {
      options.signal?.throwIfAborted();
      const { row, modRevision, digest: held } = await this.readHeld(artifact, options);
      if (held !== undefined && held !== digest) throw heldByOther(artifact, digest, held);
      const isThere = row === undefined
        ? await this.write(decoded, archive, modRevision, options)
        : await this.noteAgain(artifact, { row, modRevision }, options);
      if (isThere) return { artifact, digest };
    }
    throw new AetherError("E_CONFLICT", `${artifact} was removed again and again while it was pushed: push it again`);
  }

  /**
   * The verified content of an artifact, from this node's cache or from the store.
   * @throws AetherError E_NOT_FOUND, or E_DATA_CORRUPT when what is stored does not have its digest.
   */
  async fetch(artifact: ArtifactId, options: CallOptions = {}): Promise<FetchedArtifact> {
    const row = await this.requireRow(artifact, options);
    const { digest } = row;
    const underWay = this.fetches.get(digest);
    if (underWay !== undefined) return underWay;
    // No one of its callers ends it: others may wait for it.
    const fetched = this.fetchContent(artifact, row).finally(() => this.fetches.delete(digest));
    this.fetches.set(digest, fetched);
    return fetched;
  }

  /** What the cluster knows of an artifact. @throws AetherError E_NOT_FOUND */
  async manifest(artifact: ArtifactId, options: CallOptions = {}): Promise<Manifest> {
    return (await this.requireRow(artifact, options)).manifest;
  }

  /** All artifacts that can be read, in the order of their coordinates. */
  async list(options: KvReadOptions = {}): Promise<readonly ArtifactSummary[]> {
    return (await this.listAll(options)).flatMap((found) => ("damage" in found ? [] : found));
  }

  /** All artifacts, in the order of their coordinates: one damaged row does not hide the others. */
  async listAll(options: KvReadOptions = {}): Promise<readonly (ArtifactSummary | DamagedArtifact)[]> {
    const entries = await listRows(this.kv, prefixOf({ kind: "artifacts" }), options);
    return entries.flatMap(({ key, value }): readonly (ArtifactSummary | DamagedArtifact)[] => {
      const parsed = knownKey(key);
      if (parsed?.kind !== "artifact") return [];
      const { artifact } = parsed;
      const row = tryRead(() => parseArtifactRow(key, value));
      if (row instanceof AetherError) return [{ artifact, damage: row.message }];
      return [{ artifact, digest: row.digest, bytes: row.bytes, manifest: row.manifest }];
    });
  }

  /** False when somebody else wrote the row, or removed chunks, before this row was written. */
  private async write(
    { manifest, digest }: SliceArchive, archive: Uint8Array, modRevision: number, options: CallOptions,
  ): Promise<boolean> {
    const key = formatKey({ kind: "artifact", artifact: manifest.artifact });
    const guards: Compare[] = [unchanged(key, modRevision)];
    const [first, second, ...rest] = chunksOf(digest, archive);
    if (second !== undefined) {
      const value = await this.writeSecond(second, options);
      guards.push(unchanged(second.key, value));
    }
    for (let from = 0; from < rest.length; from += CHUNKS_PER_TRANSACTION) {
      options.signal?.throwIfAborted();
      await this.kv.transact({ compare: [], then: rest.slice(from, from + CHUNKS_PER_TRANSACTION), else: [] }, options);
    }
    const bytes = archive.byteLength;
    const row: ArtifactRow = { digest, bytes, chunks: chunkCount(bytes), pushedAtMs: this.clock.wallMs(), manifest };
    const then: readonly Op[] = [...(first === undefined ? [] : [first]), { kind: "put", key, value: row }];
    return (await this.kv.transact({ compare: guards, then, else: [] }, options)).succeeded;
  }

  /** Writes chunk 1 unless it is there: pushes of the same bytes at once do not disturb each other. Its revision. */
  private async writeSecond(put: Op, options: CallOptions): Promise<number> {
    const { succeeded, revision, results } = await this.kv.transact({
      compare: [{ key: put.key, target: "exists", op: "=", value: false }],
      then: [put],
      else: [{ kind: "get", key: put.key }],
    }, options);
    const [found] = results;
    return !succeeded && found?.kind === "get" && found.entry !== undefined ? found.entry.modRevision : revision;
  }

  /** False when the row has changed since it was found. */
  private async noteAgain(artifact: ArtifactId, held: FoundRow, options: CallOptions): Promise<boolean> {
    const { row, modRevision } = held;
    const pushedAtMs = this.clock.wallMs();
    if (pushedAtMs - row.pushedAtMs < NOTE_AGAIN_AFTER_MS) return true;
    const key = formatKey({ kind: "artifact", artifact });
    const noted = await this.kv.transact({
      compare: [unchanged(key, modRevision)],
      then: [{ kind: "put", key, value: { ...row, pushedAtMs } }],
      else: [],
    }, options);
    return noted.succeeded;
  }

  private async readChunks(artifact: ArtifactId, row: ArtifactRow): Promise<Uint8Array> {
    const archive = new Uint8Array(row.bytes);
    let at = 0;
    for (let chunk = 0; chunk < row.chunks; chunk++) {
      if (chunk > 0 && chunk % CHUNKS_PER_TURN === 0) await this.pause();
      const key = chunkKey(row.digest, chunk);
      // Local is enough (R2): this node has applied the row, so it has applied the chunks.
      const { entry } = await this.kv.get(key, { consistency: "local" });
      if (!(entry?.value instanceof Uint8Array) || at + entry.value.byteLength > row.bytes) {
        // The chunks go with the row: it may have been removed since it was read.
        await this.requireRow(artifact, {});
        throw corruptArtifact(artifact, `chunk ${chunk} is missing or too long`);
      }
      archive.set(entry.value, at);
      at += entry.value.byteLength;
    }
    return archive;
  }

  private async fetchContent(artifact: ArtifactId, row: ArtifactRow): Promise<FetchedArtifact> {
    const cached = await this.cache?.read(row.digest);
    const archive = cached ?? await this.readChunks(artifact, row);
    // The cache has looked at it. Whoever pushed it was refused unless its bundle is the one of its manifest.
    if (cached === undefined && await sha256InTurns(archive, this.pause) !== row.digest) {
      throw corruptArtifact(artifact, "its archive does not have its digest");
    }
    const { manifest, bundle } = trustStored(artifact, () => openArchive(archive));
    if (manifest.artifact !== artifact) throw corruptArtifact(artifact, "its archive is another artifact's");
    if (cached === undefined) await this.keep(row.digest, archive);
    return { manifest, bundle, digest: manifest.digest };
  }

  private async keep(digest: Digest, archive: Uint8Array): Promise<void> {
    try {
      await this.cache?.write(digest, archive);
    } catch {
      // ignored: the cache saves work and nothing else; the next fetch reads from the store again.
    }
  }

  private async requireRow(artifact: ArtifactId, options: CallOptions): Promise<ArtifactRow> {
    // What a row says never changes (R1), so one that is here is right; only absence must be asked of a quorum.
    const local = await this.findRow(artifact, { ...options, consistency: "local" });
    const found = local ?? await this.findRow(artifact, options);
    if (found !== undefined) return found.row;
    throw new AetherError("E_NOT_FOUND", `there is no artifact ${artifact}: push it first`, {
      outcome: "none",
      details: { artifact },
    });
  }

  private async readHeld(artifact: ArtifactId, options: CallOptions): Promise<HeldRow> {
    const { entry } = await this.kv.get(formatKey({ kind: "artifact", artifact }), options);
    if (entry === undefined) return { row: undefined, digest: undefined, modRevision: 0 };
    const { key, value, modRevision } = entry;
    const row = tryRead(() => parseArtifactRow(key, value));
    // What nobody can read nobody uses: the same content mends it, and any content one that does not say which it had.
    if (row instanceof AetherError) return { row: undefined, digest: digestIn(value), modRevision };
    return { row, digest: row.digest, modRevision };
  }

  private async findRow(artifact: ArtifactId, options: KvReadOptions): Promise<FoundRow | undefined> {
    const { entry } = await this.kv.get(formatKey({ kind: "artifact", artifact }), options);
    if (entry === undefined) return undefined;
    return { row: parseArtifactRow(entry.key, entry.value), modRevision: entry.modRevision };
  }
}

function chunksOf(digest: Digest, archive: Uint8Array): readonly Op[] {
  return Array.from({ length: chunkCount(archive.byteLength) }, (_, chunk): Op => ({
    kind: "put",
    key: chunkKey(digest, chunk),
    value: archive.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES),
  }));
}

/** What it says, or why it cannot be read: it is damaged, or of a newer version. */
function tryRead<T extends object>(read: () => T): T | AetherError {
  try {
    return read();
  } catch (error) {
    if (isDamage(error) || (error instanceof AetherError && error.code === "E_VERSION")) return error;
    throw error;
  }
}

function heldByOther(artifact: ArtifactId, digest: Digest, held: Digest): AetherError {
  return new AetherError("E_CONFLICT", `${artifact} exists with other content and never changes: raise the version`, {
    details: { artifact, digest, held },
  });
}
