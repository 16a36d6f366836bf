// Owns: the port through which every area to the right reads and writes the replicated store.
import type { CallOptions } from "../env/env.ts";
import type { KeyText } from "./core/key.ts";
import type { KvChangeSet, KvEntry, LeaseId, RequestRef, Txn, TxnResult } from "./core/schema.ts";

/** `linearizable` costs one round trip to a quorum; `local` answers at once from this node's applied state. */
export type Consistency = "linearizable" | "local";

export interface KvCallOptions extends CallOptions {
  /** Default 5,000 ms. A write that passes it fails with E_TIMEOUT, outcome unknown. */
  readonly timeoutMs?: number;
}

export interface KvWriteOptions extends KvCallOptions {
  /**
   * Applies the write at most once: sent again with the same request, also through another node, it answers what it
   * answered first.
   */
  readonly request?: RequestRef;
}

export interface KvReadOptions extends KvCallOptions {
  /** Default `linearizable`. */
  readonly consistency?: Consistency;
  /** For whom: readers take turns, and none gets more in a turn than the node can spare. Not given: at once. */
  readonly reader?: object;
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
  /** Only keys after this one; before it, where the order is descending. */
  readonly after?: string;
  /** Of the keys; default `ascending`. Descending is only the state as it is now: E_INVALID with `revision`. */
  readonly order?: "ascending" | "descending";
  /**
   * Lists the state as it was at this revision, whatever the consistency: pages that follow give the first one's, so
   * that all are of one state. E_COMPACTED when it is too long ago.
   */
  readonly revision?: number;
}

export interface KvPage {
  readonly entries: readonly KvEntry[];
  /** The revision that the entries are of. */
  readonly revision: number;
  readonly more: boolean;
}

export interface KvGetOptions extends KvReadOptions {
  /** Reads the state as it was at this revision, whatever the consistency: E_COMPACTED when it is too long ago. */
  readonly revision?: number;
}

/** One prefix, or several. */
export type KvPrefixes = string | readonly string[];

export interface KvWatchOptions {
  /** The first revision wanted; those that are past already come first. Default: the one after the current one. */
  readonly fromRevision?: number;
  /** How long a node that is not there yet may take to get there. Default 5,000 ms. */
  readonly timeoutMs?: number;
}

export interface KvWatchHandlers {
  /** Ordered by revision, each revision at most once, whole transactions. Must not throw. */
  onChanges(changes: KvChangeSet): void;
  /**
   * Everything up to this revision has been delivered, or did not match: where to resume. Comes every 10 seconds when
   * nothing else does, and when it is asked for. Must not throw.
   */
  onProgress?(revision: number): void;
  /** Asked before each delivery: true puts it off. Meanwhile the watch may fall behind and end with E_COMPACTED. */
  isFull?(): boolean;
  /**
   * The watch ended by itself: E_COMPACTED when what follows is not held any more (list, then watch again),
   * E_UNAVAILABLE when this node stops or is not as far as the watcher (watch elsewhere). Never called after `cancel`.
   */
  onEnd(reason: Error): void;
}

export interface KvWatch {
  cancel(): void;
  /** Asks for `onProgress` once everything that is applied here now was delivered. */
  requestProgress(): void;
}

export interface LeaseGrant {
  /** 1,000 to 86,400,000. The lease ends when it was not renewed for so long; later, never earlier. */
  readonly ttlMs: number;
  /** Makes the lease a session: the results of its last 1,024 requests are kept. */
  readonly requests?: boolean;
}

export interface GrantedLease {
  readonly lease: LeaseId;
  readonly ttlMs: number;
}

export interface LeaseInfo {
  readonly lease: LeaseId;
  readonly ttlMs: number;
  /** Whether it is a session. */
  readonly requests: boolean;
  /** Keys attached to it now. */
  readonly keys: number;
  /** How often it was renewed. */
  readonly renewals: number;
}

export interface StoreUsage {
  /** What keys, values and the store's own rows weigh now, in bytes. */
  readonly liveBytes: number;
  /** Beyond this, transactions that would make the store grow fail with E_QUOTA. */
  readonly quotaBytes: number;
}

/** Leases: keys and sessions that go when nobody renews them. All writes; all throw as `transact` does. */
export interface Leases {
  /** @throws AetherError E_INVALID for a bad time, E_OVERLOADED when there are too many leases */
  grantLease(grant: LeaseGrant, options?: KvCallOptions): Promise<GrantedLease>;
  /** @throws AetherError E_NOT_FOUND when the lease has ended */
  renewLease(lease: LeaseId, options?: KvCallOptions): Promise<void>;
  /** Ends the lease and deletes its keys. @throws AetherError E_NOT_FOUND when it has ended already */
  revokeLease(lease: LeaseId, options?: KvCallOptions): Promise<void>;
  /** As this node has it applied. */
  lease(lease: LeaseId): LeaseInfo | undefined;
  /** How many there are, as this node has it applied; of `LEASES_MAX`. */
  leaseCount(): number;
}

/** How much the store holds, and may hold. */
export interface StoreQuota {
  /** As this node has it applied. */
  usage(): StoreUsage;
  /** Sets the quota of the whole cluster. @throws AetherError E_INVALID out of range */
  setQuota(bytes: number, options?: KvCallOptions): Promise<void>;
}

export interface Kv {
  get(key: KeyText, options?: KvGetOptions): Promise<KvRead>;
  list(query: KvListQuery, options?: KvReadOptions): Promise<KvPage>;
  /**
   * Proposes a transaction; resolves once it is decided, durable on a quorum and applied here.
   * @throws AetherError E_TOO_LARGE (outcome unknown when it is applied, but what it read is too much to answer),
   *   E_OVERLOADED, E_NO_QUORUM, E_TIMEOUT (outcome unknown), E_NOT_FOUND for an unknown lease, E_QUOTA, E_CONFLICT
   *   for a request that its session does not know any more (outcome unknown)
   */
  transact(txn: Txn, options?: KvWriteOptions): Promise<TxnResult>;
  /**
   * Changes from a revision on; handlers are never called synchronously. Of several prefixes, what one revision has
   * changed comes at once, in the order of its transaction.
   */
  watch(prefix: KvPrefixes, handlers: KvWatchHandlers, options?: KvWatchOptions): KvWatch;
  /** The revision of this node's applied state. */
  readonly revision: number;
  /** The oldest revision that a watch of this node can begin with; above `revision` when that is in the future. */
  readonly oldestRevision: number;
}
