// Owns: the digest of plain data: the same for the same data, however its keys were ordered when it was written.
import { encode } from "../../base/codec.ts";
import { sha256 } from "../../base/digest.ts";
import type { Digest } from "../../base/ids.ts";
import { toCanonical } from "../../slices/core/canonical.ts";

export function digestOfPlain(value: unknown): Digest {
  return sha256(encode(toCanonical(value)));
}
