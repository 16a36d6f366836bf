// Owns: payloads of jobs that are stored apart from their logs: how they are named, cut into chunks, and held by the
// jobs that need them. Does not own: writing and reading them (payloads/payload-store.ts).
//
// Chunks are written first, the row of a payload last: whoever sees the row can read all of it. Who names a payload
// compares that its row is there, puts it again and adds a reference, in the transaction of the event that names it. So
// the row's revision has moved for whoever is about to take the payload away because it had no reference.
import { z } from "zod";
import type { Digest } from "../../../base/ids.ts";
import { digestSchema, parseStored } from "../../../base/stored-row.ts";
import { KiB, MiB } from "../../../base/units.ts";
import { formatKey, type KeyText } from "../../../kvstore/core/key.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import type { Compare, Op } from "../../../kvstore/core/schema.ts";
import { digestOfPlain } from "../plain-digest.ts";

/** Of one value in an event or a row; what has more is stored apart. */
export const JOB_VALUE_BYTES_MAX = 64 * KiB;
/** Of one payload, encoded. */
export const PAYLOAD_BYTES_MAX = 64 * MiB;
/** A chunk is one value of the store, and one message between a worker and its node, of 256 KiB at most. */
export const PAYLOAD_CHUNK_BYTES = 192 * KiB;

/** A payload that is stored apart: the digest and the size of its MessagePack. */
export interface BlobRef {
  readonly digest: Digest;
  readonly bytes: number;
}

/** What may have a payload: where that is stored apart its own place is empty. */
export interface Apart {
  readonly blob?: BlobRef;
}

export function apart({ blob }: Apart): Apart {
  return blob === undefined ? {} : { blob };
}

/** What stands for an output in the log. One that is stored apart is known by its bytes. */
export function outputDigestOf({ output, blob }: { readonly output: unknown } & Apart): Digest {
  return blob?.digest ?? digestOfPlain(output);
}

/** The value of `job-blobs/{digest}`. */
export interface BlobRow {
  readonly bytes: number;
  /** Wall time at which somebody wrote or named it last. */
  readonly putMs: number;
}

/** The value of `job-blob-writes/{digest}`: since when its chunks are being written; 0 while they are taken away. */
export interface BlobWriteRow {
  readonly putMs: number;
}

export const BEING_TAKEN: BlobWriteRow = { putMs: 0 };

const bytes = z.int().min(1).max(PAYLOAD_BYTES_MAX);
export const blobRefSchema: z.ZodType<BlobRef> = z.object({ digest: digestSchema, bytes });
const rowSchema: z.ZodType<BlobRow> = z.object({ bytes, putMs: z.number() });
const payloadSchema: z.ZodType<Pick<BlobRef, "bytes">> = z.object({ bytes });
const writeSchema: z.ZodType<BlobWriteRow> = z.object({ putMs: z.number() });

/** @throws AetherError E_DATA_CORRUPT */
export function parseBlobRow(value: unknown): BlobRow {
  return parseStored(rowSchema, value, "the row of a job's payload");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseBlobWriteRow(value: unknown): BlobWriteRow {
  return parseStored(writeSchema, value, "the mark of a job's payload");
}

/** The value of `job-data/…/payloads/{digest}`. @throws AetherError E_DATA_CORRUPT */
export function parsePayloadRow(value: unknown): Pick<BlobRef, "bytes"> {
  return parseStored(payloadSchema, value, "the row of a payload that a job has");
}

export function chunkCountOf({ bytes: size }: Pick<BlobRef, "bytes">): number {
  return Math.ceil(size / PAYLOAD_CHUNK_BYTES);
}

/** Bytes of one chunk of a payload. */
export function chunkBytesOf({ bytes: size }: Pick<BlobRef, "bytes">, chunk: number): number {
  return Math.min(PAYLOAD_CHUNK_BYTES, size - chunk * PAYLOAD_CHUNK_BYTES);
}

export function chunkOf(payload: Uint8Array, chunk: number): Uint8Array {
  return payload.subarray(chunk * PAYLOAD_CHUNK_BYTES, (chunk + 1) * PAYLOAD_CHUNK_BYTES);
}

export function blobKey({ digest }: Pick<BlobRef, "digest">): KeyText {
  return formatKey({ kind: "job-blob", digest });
}

export function blobWriteKey({ digest }: Pick<BlobRef, "digest">): KeyText {
  return formatKey({ kind: "job-blob-write", digest });
}

export function chunkKey({ digest }: Pick<BlobRef, "digest">, chunk: number): KeyText {
  return formatKey({ kind: "job-blob-chunk", digest, chunk });
}

export function blobRefKey(ref: JobRef, { digest }: Pick<BlobRef, "digest">): KeyText {
  return formatKey({ kind: "job-blob-ref", ...ref, digest });
}

export function payloadKey(ref: JobRef, { digest }: Pick<BlobRef, "digest">): KeyText {
  return formatKey({ kind: "job-payload", ...ref, digest });
}

/** The payload is there; also once it was put again. */
export function isThere(blob: Pick<BlobRef, "digest">): Compare {
  return { key: blobKey(blob), target: "exists", op: "=", value: true };
}

export function putBlob(blob: BlobRef, putMs: number): Op {
  const row: BlobRow = { bytes: blob.bytes, putMs };
  return { kind: "put", key: blobKey(blob), value: row };
}

/** What a transaction has in which a job comes to need these payloads. */
export interface Naming {
  readonly compare: readonly Compare[];
  readonly then: readonly Op[];
}

/** Each of them once, however often it is named. */
export function naming(ref: JobRef, blobs: readonly BlobRef[], atMs: number): Naming {
  const named = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
  return {
    compare: named.map(isThere),
    then: named.flatMap((blob): Op[] => [
      putBlob(blob, atMs),
      { kind: "put", key: blobRefKey(ref, blob), value: null },
      { kind: "put", key: payloadKey(ref, blob), value: { bytes: blob.bytes } },
    ]),
  };
}

/** Whoever writes chunks may go on: nobody takes them away. */
export function isBeingWritten(blob: Pick<BlobRef, "digest">): readonly Compare[] {
  const key = blobWriteKey(blob);
  return [
    { key, target: "exists", op: "=", value: true },
    { key, target: "value", op: "!=", value: BEING_TAKEN },
  ];
}

/** What takes a reference away; the payload itself stays until nobody has one. */
export function unnaming(ref: JobRef, digest: Digest): readonly Op[] {
  return [
    { kind: "delete", key: blobRefKey(ref, { digest }) },
    { kind: "delete", key: payloadKey(ref, { digest }) },
  ];
}
