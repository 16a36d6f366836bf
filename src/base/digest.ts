// Owns: hashing. Synchronous on purpose: the simulator allows no thread-pool asynchrony of our own.
import { createHash, createHmac } from "node:crypto";
import { crc32 as zlibCrc32 } from "node:zlib";
import type { Digest } from "./ids.ts";
import { MiB } from "./units.ts";

export function sha256(bytes: Uint8Array | string): Digest {
  return createHash("sha256").update(bytes).digest("hex") as Digest;
}

/** The digest of all parts one after another, as bytes. */
export function sha256Bytes(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** The digest of bytes that come one part after another. */
export class DigestOfParts {
  private readonly hash = createHash("sha256");

  add(part: Uint8Array): void {
    this.hash.update(part);
  }

  finish(): Digest {
    return this.hash.digest("hex") as Digest;
  }
}

/** What is hashed without a pause: some milliseconds on any machine. */
const TURN_BYTES = 4 * MiB;

/** As `sha256`, for bytes that may be many on a thread that also votes: `pause` lets others have their turn. */
export async function sha256InTurns(bytes: Uint8Array, pause: () => Promise<void>): Promise<Digest> {
  const hash = createHash("sha256");
  for (let at = 0; at < bytes.byteLength; at += TURN_BYTES) {
    if (at > 0) await pause();
    hash.update(bytes.subarray(at, at + TURN_BYTES));
  }
  return hash.digest("hex") as Digest;
}

export function hmacSha256(key: Uint8Array | string, text: string): Uint8Array {
  return createHmac("sha256", key).update(text).digest();
}

/** CRC-32 of `bytes`, continued from `seed`: chaining it over records makes a checksum of a log. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}
