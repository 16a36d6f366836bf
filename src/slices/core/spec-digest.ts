// Owns: what makes two instances the same: the digest of what an instance runs and within which bounds. Where its
// calls go is not part of it: that is decided call by call, and a new version of a used slice restarts no caller.
import { sha256 } from "../../base/digest.ts";
import type { Digest } from "../../base/ids.ts";
import type { ResolvedSlice } from "./blueprint.ts";
import { toCanonical } from "./canonical.ts";

/** The same for all instances of a slice in one revision, and in every revision that changes nothing for them. */
export function specDigestOf(slice: ResolvedSlice): Digest {
  const { artifact, config, heapBytesMax, concurrency, variables } = slice;
  return sha256(JSON.stringify(toCanonical({ artifact, config, heapBytesMax, concurrency, variables })));
}
