// Owns: the port through which every area to the right reads and writes the replicated store.
import type { CallOptions } from "../env/env.ts";
import type { KeyText } from "./core/key.ts";
import type { KvChangeSet, KvEntry, Txn, TxnResult } from "./core/schema.ts";

/** `linearizable` costs one round trip to a quorum; `local` answers at once from this node's applied state. */
export type Consistency = "linearizable" | "local";

export interface KvCallOptions extends CallOptions {
  /** Default 5,000 ms. A write that passes it fails with E_TIMEOUT, outcome unknown. */
  readonly timeoutMs?: number;
}

export interface KvReadOptions extends KvCallOptions {
  /** Default `linearizable`. */
  readonly consistency?: Consistency;
}

export interface KvRead {
  readonly entry?: KvEntry;
  /** The store's revision at the time of the read. */
  readonly revision: number;
}

export interface KvListQuery {
  readonly prefix: string;
  /** 1 to 1,000; default 1,000. */
  readonly limit?: number;
  /** Only keys after this one. */
  readonly after?: string;
}

export interface KvPage {
  readonly entries: readonly KvEntry[];
  readonly revision: number;
  readonly more: boolean;
}

export interface KvWatchHandlers {
  /** Ordered by revision, each revision at most once, whole transactions. Must not throw. */
  onChanges(changes: KvChangeSet): void;
  /**
   * The watch ended by itself, for example because the watcher was too slow (E_OVERLOADED with the revision to resume
   * from). Never called after `cancel`.
   */
  onEnd(reason: Error): void;
}

export interface KvWatch {
  cancel(): void;
}

export interface Kv {
  get(key: KeyText, options?: KvReadOptions): Promise<KvRead>;
  list(query: KvListQuery, options?: KvReadOptions): Promise<KvPage>;
  /**
   * Proposes a transaction; resolves once it is decided, durable on a quorum and applied here.
   * @throws AetherError E_TOO_LARGE (outcome unknown when it is applied, but what it read is too much to answer),
   *   E_OVERLOADED, E_NO_QUORUM, E_TIMEOUT (outcome unknown)
   */
  transact(txn: Txn, options?: KvCallOptions): Promise<TxnResult>;
  /** Changes after the revision at the time of the call; never called synchronously. */
  watch(prefix: string, handlers: KvWatchHandlers): KvWatch;
  /** The revision of this node's applied state. */
  readonly revision: number;
}
