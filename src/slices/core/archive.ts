// Owns: the one file that a slice travels in: magic, format version, then MessagePack of [manifest, bundle].
// A1  Same manifest and bundle, same bytes: no times, no paths, keys sorted.
import { decodeUntrusted, encode } from "../../base/codec.ts";
import { sha256 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { KiB, MiB } from "../../base/units.ts";
import { toCanonical } from "./canonical.ts";
import { parseManifest, type Manifest } from "./manifest.ts";

/** Largest archive that the cluster stores: HTTP takes as much in one body. */
export const ARCHIVE_BYTES_MAX = 64 * MiB;

/** Names, numbers and texts of a manifest and of the schemas in it, a byte each at least (MANIFEST_BYTES_MAX). */
const VALUES_MAX = 256 * KiB;

const MAGIC = new TextEncoder().encode("AETHERSL");
const FORMAT = 1;
const HEADER_BYTES = MAGIC.length + 1;

export interface SliceArchive {
  readonly manifest: Manifest;
  /** One self-contained ES module. */
  readonly bundle: Uint8Array;
  /** sha-256 of the whole archive: the identity of the artifact's content. */
  readonly digest: Digest;
}

/** The archive of a slice. @throws AetherError E_TOO_LARGE */
export function encodeArchive(manifest: Manifest, bundle: Uint8Array): Uint8Array {
  const body = encode([toCanonical(manifest), bundle]);
  const archive = new Uint8Array(HEADER_BYTES + body.byteLength);
  archive.set(MAGIC);
  archive[MAGIC.length] = FORMAT;
  archive.set(body, HEADER_BYTES);
  checkSize(archive);
  return archive;
}

/** @throws AetherError E_TOO_LARGE, E_VERSION, or E_INVALID for anything that is not a whole, unaltered archive. */
export function decodeArchive(archive: Uint8Array): SliceArchive {
  const { manifest, bundle } = openArchive(archive);
  checkBundle(manifest, sha256(bundle));
  return { manifest, bundle, digest: sha256(archive) };
}

/** What an archive holds, if it has that form. Nothing is hashed. @throws as `decodeArchive` */
export function openArchive(archive: Uint8Array): Omit<SliceArchive, "digest"> {
  checkSize(archive);
  if (archive.byteLength < HEADER_BYTES || MAGIC.some((byte, index) => archive[index] !== byte)) {
    throw new AetherError("E_INVALID", "these bytes are not a slice archive: make one with `aether slice build`");
  }
  const format = archive[MAGIC.length];
  if (format !== FORMAT) {
    throw new AetherError("E_VERSION", `the archive has format ${String(format)}; this version reads ${FORMAT} only`);
  }
  const body = decodeUntrusted(archive.subarray(HEADER_BYTES), ARCHIVE_BYTES_MAX, VALUES_MAX);
  if (!Array.isArray(body) || body.length !== 2 || !(body[1] instanceof Uint8Array)) {
    throw new AetherError("E_INVALID", "a slice archive holds a manifest and a bundle; this one does not");
  }
  const bundle: Uint8Array = body[1];
  const manifest = parseManifest(body[0]);
  const actual = bundle.byteLength;
  if (actual !== manifest.bundleBytes) {
    throw otherBundle(manifest, "bundleBytes", `the bundle has ${actual} bytes and not ${manifest.bundleBytes}`);
  }
  return { manifest, bundle };
}

/** @throws AetherError E_INVALID when the bundle, whose digest is given, is not the one of the manifest */
export function checkBundle(manifest: Manifest, actual: Digest): void {
  if (actual !== manifest.digest) throw otherBundle(manifest, "digest", "the bundle has another digest");
}

function otherBundle(manifest: Manifest, field: string, found: string): AetherError {
  const issues = [{ path: [field], message: found }];
  const message = `${manifest.artifact} does not hold what its manifest says: ${found}; build it again`;
  return new AetherError("E_INVALID", message, { details: { issues } });
}

function checkSize(archive: Uint8Array): void {
  if (archive.byteLength <= ARCHIVE_BYTES_MAX) return;
  const actual = archive.byteLength;
  throw new AetherError("E_TOO_LARGE", `the slice archive has ${actual} bytes; the limit is ${ARCHIVE_BYTES_MAX}`, {
    details: { limit: ARCHIVE_BYTES_MAX, actual },
  });
}
