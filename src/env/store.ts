// Ports only: no code here.
import type { AsyncCloseable } from "../base/resource-stack.ts";

export type StoreOp =
  | { readonly kind: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "delete"; readonly key: Uint8Array };

/** Half-open range of keys in byte order; an absent end is unbounded. */
export interface KeyRange {
  readonly from?: Uint8Array;
  readonly to?: Uint8Array;
  readonly reverse?: boolean;
}

export type StoreEntry = readonly [key: Uint8Array, value: Uint8Array];

/** A write that is put together over several turns. Nobody sees anything of it before `write`. */
export interface StoreBatch {
  put(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): void;
  /** As `OrderedStore.write`; the last call. */
  write(done: (failure?: Error) => void): void;
}

/** An ordered map of bytes on disk. Keys order bytewise. */
export interface OrderedStore extends AsyncCloseable {
  getSync(key: Uint8Array): Uint8Array | undefined;
  /**
   * Writes all ops or none, and calls `done` once they are fsynced (never synchronously). Writes become durable in
   * the order of calls. A failure means nothing may be concluded about this write: the process must stop.
   */
  write(ops: readonly StoreOp[], done: (failure?: Error) => void): void;
  /** For a write too large to be made in one turn. One that is never written leaves nothing behind. */
  begin(): StoreBatch;
  /** Entries as of the moment of this call, whatever is written afterwards. */
  entries(range: KeyRange): AsyncIterable<StoreEntry>;
}

export interface StorePort {
  /**
   * Opens or creates the store `name` of this node.
   * @throws AetherError E_DATA_LOCKED when another process has it, E_DATA_CORRUPT when it cannot be read.
   */
  open(name: string): Promise<OrderedStore>;
  /** Names of the stores there are, in any order; other folders at the same place may be among them. */
  list(): Promise<readonly string[]>;
  /** Removes a closed store with everything in it: once this has resolved, or wholly not. */
  destroy(name: string): Promise<void>;
}
