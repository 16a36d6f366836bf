// Owns: the limits of the store's keys, values, transactions and pages. What is replicated is checked before
// consensus, what is answered after it; `apply` does not know them and they may grow without diverging replicas.
import { AetherError } from "../../base/errors.ts";
import { GiB, KiB, MiB } from "../../base/units.ts";

/** One encoded value. Larger things are stored in chunks (`blobs/…`). */
export const VALUE_BYTES_MAX = 512 * KiB;
/** Operations of one transaction (then and else together), and, apart from them, its compares. */
export const TXN_OPS_MAX = 128;
/** One encoded transaction: it must fit into a consensus batch and a peer frame. */
export const TXN_BYTES_MAX = MiB;
/** What the gets of one transaction find, together: its answer must fit into a client's frame. */
export const TXN_READ_BYTES_MAX = 4 * MiB;
export const PAGE_ENTRIES_MAX = 1_000;
/** Keys and values of one page together; a page has at least one entry all the same. */
export const PAGE_BYTES_MAX = MiB;
/** Levels of arrays and objects in a value: recursion over untrusted data must end. */
export const VALUE_DEPTH_MAX = 64;

/** What the whole store may weigh unless somebody has said otherwise. */
export const QUOTA_BYTES_DEFAULT = 8 * GiB;

/** @throws AetherError E_TOO_LARGE naming limit and actual when `actual` is above `limit`. */
export function checkLimit(what: string, limit: number, actual: number): void {
  if (actual <= limit) return;
  throw new AetherError("E_TOO_LARGE", `${what}: ${actual} is over the limit of ${limit}`, {
    details: { limit, actual },
  });
}
