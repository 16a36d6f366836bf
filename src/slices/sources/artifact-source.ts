// Ports only: a place outside of the cluster that offers artifacts, as `slice build` writes them.
import type { ArtifactId, Digest } from "../../base/ids.ts";
import { KiB, MiB, SECOND_MS } from "../../base/units.ts";

/** Of `index.json`. */
export const INDEX_BYTES_MAX = 4 * MiB;
/** Of a `.manifest.json`: a manifest of 256 KiB, written for people. */
export const MANIFEST_FILE_BYTES_MAX = 1 * MiB;
/** For one file over HTTP, from the question to its last byte. */
export const SOURCE_MS_MAX = 30 * SECOND_MS;
/** Largest file with a token. */
export const TOKEN_FILE_BYTES_MAX = 64 * KiB;

/** Whatever goes wrong there is an AetherError E_UNAVAILABLE with a sentence that begins with the source's name. */
export interface ArtifactSource {
  /** A directory or an address, for people. */
  readonly name: string;
  /** What it offers now, with the sha-256 of each archive if it says one. */
  list(signal?: AbortSignal): Promise<ReadonlyMap<ArtifactId, Digest | undefined>>;
  /** Parsed JSON; whoever asks checks it. */
  manifest(artifact: ArtifactId, signal?: AbortSignal): Promise<unknown>;
  archive(artifact: ArtifactId, signal?: AbortSignal): Promise<Uint8Array>;
}
