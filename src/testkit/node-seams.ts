// Owns: where something may be put between the parts of a simulated node: to see what its jobs write, to crash there.
import type { WorkersPort } from "../env/workers.ts";
import type { Txn, TxnResult } from "../kvstore/core/schema.ts";
import type { KvStore } from "../kvstore/kv-store.ts";
import type { SimProcess } from "./sim/sim-process.ts";

export interface NodeSeams {
  /** The store as everything above it sees it. */
  readonly kv?: (kv: KvStore, process: SimProcess) => KvStore;
  readonly workers?: (workers: WorkersPort, process: SimProcess) => WorkersPort;
}

/** What becomes of a transaction; `go` proposes it. */
export type Transact = (txn: Txn, go: (txn: Txn) => Promise<TxnResult>) => Promise<TxnResult>;

/** The same store with something in the way of its transactions. */
export function storeWith(kv: KvStore, transact: Transact): KvStore {
  const method: KvStore["transact"] = (txn, options) => transact(txn, (given) => kv.transact(given, options));
  return Object.create(kv, { transact: { value: method } }) as KvStore;
}
