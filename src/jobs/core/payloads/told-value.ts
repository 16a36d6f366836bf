// Owns: a value that a job is told from outside, as the job's rows are to have it: in its place, or stored apart.
// Does not own: storing it (doors/job-payloads.ts).
import { encode, encodeLarge } from "../../../base/codec.ts";
import { sha256 } from "../../../base/digest.ts";
import type { Digest } from "../../../base/ids.ts";
import { toCanonical } from "../../../slices/core/canonical.ts";
import { JOB_VALUE_BYTES_MAX } from "./blob.ts";

export interface ToldValue {
  /** What stands in its place: null for what is stored apart. */
  readonly value: unknown;
  /** The same for the same data, however its keys were ordered. */
  readonly digest: Digest;
  /** What is stored apart under that digest. */
  readonly large?: Uint8Array;
}

/** Of plain data that has about so many bytes. */
export function toldValue({ value, bytes }: { readonly value: unknown; readonly bytes: number }): ToldValue {
  // Sorted keys: the payload has the digest of its data, so that the data are looked through once.
  const canonical = toCanonical(value);
  if (bytes <= JOB_VALUE_BYTES_MAX) return { value, digest: sha256(encode(canonical)) };
  const large = encodeLarge(canonical);
  return { value: null, digest: sha256(large), large };
}
