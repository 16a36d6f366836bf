// Owns: values that are the same whenever code comes to the same place of the same job, without a word in the log.
import { hmacSha256 } from "../../../base/digest.ts";
import type { CallName, JobUid } from "../ids.ts";

const VERSION_BYTE = 6;
const VARIANT_BYTE = 8;
const UUID_BYTES = 16;

/** As many bits as the fraction of a number has. */
const RANDOM_BITS = 53n;

/** A number from 0 up to and without 1, drawn from the job's uid and the place. Not for keys and passwords. */
export function randomOf(uid: JobUid, call: CallName): number {
  const drawn = Buffer.from(hmacSha256(uid, `random\n${call}`)).readBigUInt64BE() >> (64n - RANDOM_BITS);
  return Number(drawn) / Number(1n << RANDOM_BITS);
}

/** A UUID of version 8 (RFC 9562), drawn from the job's uid and the place. */
export function uuidOf(uid: JobUid, call: CallName): string {
  const bytes = Buffer.from(hmacSha256(uid, `uuid\n${call}`).subarray(0, UUID_BYTES));
  bytes.writeUInt8((bytes.readUInt8(VERSION_BYTE) & 0x0f) | 0x80, VERSION_BYTE);
  bytes.writeUInt8((bytes.readUInt8(VARIANT_BYTE) & 0x3f) | 0x80, VARIANT_BYTE);
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
