// Owns: what a handler has for state that outlives its instance: a part of the store, and leases. Types only.

/** One entry of a slice's part of the store. */
export interface SliceEntry {
  /** Relative: without the slice's own prefix. */
  readonly key: string;
  /** Plain data, as it was put. */
  readonly value: unknown;
  /** The store's revision at which this entry was last put: what `ifRevision` compares. */
  readonly modRevision: number;
  readonly createRevision: number;
  /** 1 at creation, plus one with each put. */
  readonly version: number;
}

export interface StateCallOptions {
  /** Milliseconds until this fails with `E_TIMEOUT`. Default 5,000, and never longer than the caller's deadline. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface StateReadOptions extends StateCallOptions {
  /** `linearizable` (default) sees every write that was answered anywhere; `local` what this node has got so far. */
  readonly consistency?: "linearizable" | "local";
}

export interface StateWriteOptions extends StateCallOptions {
  /** Write only if this is the entry's `modRevision`, 0 for one that does not exist. `E_CONFLICT` otherwise. */
  readonly ifRevision?: number;
}

export interface SliceListQuery {
  /** Of relative keys; default all of the slice. */
  readonly prefix?: string;
  /** 1 to 1,000; default 1,000. */
  readonly limit?: number;
  /** Only keys after this one. */
  readonly after?: string;
  /** That of the first page, so that all pages are of one state. `E_COMPACTED` when it is too long ago. */
  readonly revision?: number;
}

export interface SlicePage {
  /** In key order. */
  readonly entries: readonly SliceEntry[];
  readonly revision: number;
  readonly more: boolean;
}

/** A guard of a transaction. An absent entry has version 0, modRevision 0 and no value. */
export type SliceCompare =
  | {
      readonly key: string;
      readonly target: "version" | "modRevision";
      readonly op: "=" | "!=" | "<" | ">";
      readonly value: number;
    }
  | { readonly key: string; readonly target: "value"; readonly op: "=" | "!=" | "<" | ">"; readonly value: unknown }
  | { readonly key: string; readonly target: "exists"; readonly op: "=" | "!="; readonly value: boolean };

export type SliceOp =
  | { readonly kind: "put"; readonly key: string; readonly value: unknown }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "get"; readonly key: string };

/** If all of `compare` hold, all of `then` happens, otherwise all of `else`. At most 128 of each. */
export interface SliceTxn {
  readonly compare: readonly SliceCompare[];
  readonly then: readonly SliceOp[];
  readonly else?: readonly SliceOp[];
}

export type SliceOpResult =
  | { readonly kind: "put" }
  | { readonly kind: "delete"; readonly deleted: boolean }
  | { readonly kind: "get"; readonly entry?: SliceEntry };

export interface SliceTxnResult {
  readonly succeeded: boolean;
  readonly revision: number;
  /** Of `then` or of `else`, in their order. */
  readonly results: readonly SliceOpResult[];
}

/**
 * The slice's own part of the cluster's store: all its instances see the same, and it outlives them. Keys are segments
 * joined by "/", relative to the slice: for everybody else `data/slices/{slice}/` stands before them. A write that
 * fails says in `outcome` whether it may have happened.
 */
export interface SliceKv {
  get(key: string, options?: StateReadOptions): Promise<SliceEntry | undefined>;
  list(query?: SliceListQuery, options?: StateReadOptions): Promise<SlicePage>;
  put(key: string, value: unknown, options?: StateWriteOptions): Promise<{ readonly revision: number }>;
  delete(
    key: string,
    options?: StateWriteOptions,
  ): Promise<{ readonly revision: number; readonly deleted: boolean }>;
  transact(txn: SliceTxn, options?: StateCallOptions): Promise<SliceTxnResult>;
}

export interface LeaseOptions extends StateCallOptions {
  /**
   * 1,000 to 86,400,000 ms, default 10,000. Its node renews it; when the node dies another instance can have it after
   * so long, or some seconds later.
   */
  readonly ttlMs?: number;
  /** How long to wait while another has it. Default 0: `E_CONFLICT` at once. */
  readonly waitMs?: number;
}

/**
 * A lease that this instance holds: no other instance of the slice has it under the same name. What is taken in a
 * handler ends with that handler; what is taken in `start`, with the instance.
 */
export interface SliceLease {
  /** Grows with every holder. Give it to whatever you write to outside of the store, and refuse lower ones there. */
  readonly token: number;
  /** Aborts as soon as the lease may have ended, with the reason. Stop then: somebody else may have begun. */
  readonly signal: AbortSignal;
  /** As `ctx.kv`, but writes happen only while the lease is held under this token: `E_FENCED` otherwise. */
  readonly kv: SliceKv;
  release(): Promise<void>;
}
