// Ports only: a node's own copy of content-addressed bytes. blob-cache-adapter.ts keeps them in a directory.
import type { Digest } from "../../base/ids.ts";

/** Losing or refusing everything is allowed; returning bytes of another digest is not. */
export interface BlobCache {
  /** The bytes, verified by their digest; undefined when they are not here or not whole. */
  read(digest: Digest): Promise<Uint8Array | undefined>;
  write(digest: Digest, bytes: Uint8Array): Promise<void>;
}
