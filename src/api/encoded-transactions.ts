// Owns: the port of the hot path: an encoded transaction goes to the store as it is, without a promise per layer.
import type { TxnOutcome } from "../kvstore/command-outcome.ts";

export interface EncodedTransactions {
  /** As `Kv.transact`, for a checked command; calls back exactly once, never synchronously. */
  transactEncoded(command: Uint8Array, done: (outcome: TxnOutcome) => void, timeoutMs?: number): void;
}
