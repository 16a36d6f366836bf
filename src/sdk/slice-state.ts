// Owns: what a handler has for state that outlives its instance: a part of the store, and leases. Types only.

import type { TopicMessage } from "./topic.ts";

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

export interface SlicePutOptions extends StateWriteOptions {
  /**
   * Puts the entry only while this lease is held (`E_FENCED` otherwise), and attaches it: it is deleted when the lease
   * ends, however that comes about.
   */
  readonly lease?: SliceLease;
}

export interface SliceWatchQuery {
  /** Of relative keys; default all of the slice. */
  readonly prefix?: string;
  /** The first revision wanted: one more than the last that was seen. Default: what comes after now. */
  readonly fromRevision?: number;
  /** Ends the sequence. */
  readonly signal?: AbortSignal;
}

export type SliceChange =
  | { readonly kind: "put"; readonly entry: SliceEntry }
  | { readonly kind: "delete"; readonly key: string };

/** What one transaction changed, in its order. */
export interface SliceChanges {
  readonly revision: number;
  readonly changes: readonly SliceChange[];
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
  /**
   * Made with `messageOf`: published if `then` happens, and only then; all in the same transaction. `else` may only get
   * then. Each slice that handles a topic takes one of the 128 operations for each message.
   */
  readonly publish?: readonly TopicMessage[];
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
  put(key: string, value: unknown, options?: SlicePutOptions): Promise<{ readonly revision: number }>;
  delete(
    key: string,
    options?: StateWriteOptions,
  ): Promise<{ readonly revision: number; readonly deleted: boolean }>;
  transact(txn: SliceTxn, options?: StateCallOptions): Promise<SliceTxnResult>;
  /**
   * What changes from now on, or from `fromRevision` on: ordered, each transaction once and whole. The sequence ends
   * with the handler or the hook it was begun in; what `start` begins ends with the instance. It is asked for as it is
   * read, so a slow reader holds up nobody; one that is behind by more than the store remembers gets `E_COMPACTED`:
   * list, and watch from the listing's revision + 1. After any other error go on from the last revision + 1.
   */
  watch(query?: SliceWatchQuery): AsyncIterable<SliceChanges>;
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
  readonly name: string;
  /** Grows with every holder. Give it to whatever you write to outside of the store, and refuse lower ones there. */
  readonly token: number;
  /** Aborts as soon as the lease may have ended, with the reason. Stop then: somebody else may have begun. */
  readonly signal: AbortSignal;
  /** As `ctx.kv`, but writes happen only while the lease is held under this token: `E_FENCED` otherwise. */
  readonly kv: SliceKv;
  release(): Promise<void>;
}
