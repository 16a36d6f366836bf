// Owns: the bytes of a snapshot's chunks, on the wire and in backups: rows as they are on disk, a checksum for each
// chunk and a chain of digests over all. Does not own: where rows come from or go to.
//
// A chunk is: crc32 of the rest (4 bytes, little endian) | MessagePack [format, "rows", index, [key, value, …]]
// and the last one: crc32 | MessagePack [format, "end", index, rows, digest, checkpoint record].
import { decode, encode } from "../../base/codec.ts";
import { crc32, sha256 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import { KiB, MiB } from "../../base/units.ts";

const CHUNK_FORMAT = 1;
const CHECKSUM_BYTES = 4;
/** A chunk is closed when it has this much; one row may be larger. */
export const SNAPSHOT_CHUNK_BYTES = 256 * KiB;
/** No chunk is larger: the largest row and what it is wrapped in fit well. */
export const SNAPSHOT_CHUNK_BYTES_MAX = 1 * MiB;

/** Key and value as they are on disk. */
export type SnapshotRow = readonly [key: Uint8Array, value: Uint8Array];

export type SnapshotChunk =
  | { readonly kind: "rows"; readonly index: number; readonly rows: readonly SnapshotRow[] }
  | {
      readonly kind: "end";
      /** Number of the chunks before. */
      readonly index: number;
      /** Rows of all chunks. */
      readonly rows: number;
      /** Digest of all chunks before. */
      readonly digest: string;
      /** The record that makes the rows a state, as it is on disk. */
      readonly checkpoint: Uint8Array;
    };

/** Of no chunk. */
export const EMPTY_SNAPSHOT_DIGEST: string = sha256(new Uint8Array(0));

/** The digest of a snapshot up to a chunk, from the one before it. */
export function chainSnapshotDigest(digest: string, chunk: Uint8Array): string {
  return sha256(`${digest}${sha256(chunk)}`);
}

/** @throws AetherError E_TOO_LARGE for what no chunk can hold */
export function encodeSnapshotChunk(chunk: SnapshotChunk): Uint8Array {
  const body = encode(
    chunk.kind === "rows"
      ? [CHUNK_FORMAT, "rows", chunk.index, chunk.rows.flat()]
      : [CHUNK_FORMAT, "end", chunk.index, chunk.rows, chunk.digest, chunk.checkpoint],
  );
  const bytes = Buffer.allocUnsafe(CHECKSUM_BYTES + body.length);
  if (bytes.length > SNAPSHOT_CHUNK_BYTES_MAX) {
    const message = `a chunk of a snapshot has ${bytes.length} bytes, the limit is ${SNAPSHOT_CHUNK_BYTES_MAX}`;
    throw new AetherError("E_TOO_LARGE", message, {
      details: { limit: SNAPSHOT_CHUNK_BYTES_MAX, actual: bytes.length },
    });
  }
  bytes.writeUInt32LE(crc32(body));
  bytes.set(body, CHECKSUM_BYTES);
  return bytes;
}

/** @throws AetherError E_DATA_CORRUPT, E_VERSION for a format that this build does not know */
export function decodeSnapshotChunk(chunk: Uint8Array): SnapshotChunk {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (bytes.length > SNAPSHOT_CHUNK_BYTES_MAX) throw corrupt(`it has ${bytes.length} bytes`);
  const body = bytes.subarray(CHECKSUM_BYTES);
  if (body.length === 0 || crc32(body) !== bytes.readUInt32LE()) throw corrupt("it does not match its checksum");
  const wire = decode(body, SNAPSHOT_CHUNK_BYTES_MAX);
  if (!Array.isArray(wire)) throw corrupt("it is not a list");
  const [format, kind, index, ...rest] = wire as readonly unknown[];
  if (format !== CHUNK_FORMAT) {
    const found = `a chunk of a snapshot has format ${String(format)}, this version reads ${CHUNK_FORMAT}`;
    throw new AetherError("E_VERSION", `${found}: use the version that made it, or a newer one`);
  }
  if (kind === "rows") return { kind, index: count(index), rows: rowsOf(rest[0]) };
  const [rows, digest, checkpoint] = rest;
  if (kind !== "end" || typeof digest !== "string" || !(checkpoint instanceof Uint8Array)) {
    throw corrupt("it has wrong fields");
  }
  return { kind, index: count(index), rows: count(rows), digest, checkpoint };
}

function rowsOf(flat: unknown): readonly SnapshotRow[] {
  if (!Array.isArray(flat) || flat.length % 2 !== 0) throw corrupt("its rows are not pairs");
  const rows: SnapshotRow[] = [];
  for (let at = 0; at < flat.length; at += 2) {
    const [key, value] = [flat[at] as unknown, flat[at + 1] as unknown];
    if (!(key instanceof Uint8Array) || !(value instanceof Uint8Array)) throw corrupt("a row is not of bytes");
    rows.push([key, value]);
  }
  return rows;
}

function count(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw corrupt(`it has ${String(value)} in place of a number`);
}

function corrupt(reason: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `cannot use a chunk of a snapshot: ${reason}; fetch it from elsewhere`);
}
