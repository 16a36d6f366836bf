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

/** An ordered map of bytes on disk. Keys order bytewise. */
export interface OrderedStore extends AsyncCloseable {
  getSync(key: Uint8Array): Uint8Array | undefined;
  /**
   * Writes all ops or none, and calls `done` once they are fsynced (never synchronously). Writes become durable in
   * the order of calls. A failure means nothing may be concluded about this write: the process must stop.
   */
  write(ops: readonly StoreOp[], done: (failure?: Error) => void): void;
  /** Entries as of the moment of this call, whatever is written afterwards. */
  entries(range: KeyRange): AsyncIterable<StoreEntry>;
}

export interface StorePort {
  /**
   * Opens or creates the store `name` of this node.
   * @throws AetherError E_DATA_LOCKED when another process has it, E_DATA_CORRUPT when it cannot be read.
   */
  open(name: string): Promise<OrderedStore>;
}
