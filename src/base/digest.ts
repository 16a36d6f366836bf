// Owns: hashing. Synchronous on purpose: the simulator allows no thread-pool asynchrony of our own.
import { createHash, createHmac } from "node:crypto";
import { crc32 as zlibCrc32 } from "node:zlib";
import type { Digest } from "./ids.ts";

export function sha256(bytes: Uint8Array | string): Digest {
  return createHash("sha256").update(bytes).digest("hex") as Digest;
}

export function hmacSha256(key: Uint8Array | string, text: string): Uint8Array {
  return createHmac("sha256", key).update(text).digest();
}

/** CRC-32 of `bytes`, continued from `seed`: chaining it over records makes a checksum of a log. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}
