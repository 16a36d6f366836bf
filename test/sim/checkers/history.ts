// Owns: what clients did and were told, in real (virtual) time. Checkers judge it; they never ask the store.
import type { NodeId } from "../../../src/base/ids.ts";
import type { KeyText } from "../../../src/kvstore/core/key.ts";
import type { KvEntry, LeaseId, RequestRef, Txn, TxnResult } from "../../../src/kvstore/core/schema.ts";

export type Action =
  /** A linearizable read of one key: read barrier, then the node's own state. */
  | { readonly kind: "read"; readonly key: KeyText }
  /** With a request it may be sent again, to any node. */
  | { readonly kind: "txn"; readonly txn: Txn; readonly request?: RequestRef }
  | { readonly kind: "grant"; readonly ttlMs: number; readonly requests: boolean }
  | { readonly kind: "renew"; readonly lease: LeaseId }
  | { readonly kind: "revoke"; readonly lease: LeaseId };

export type Answer =
  | { readonly kind: "read"; readonly entry: KvEntry | undefined; readonly revision: number }
  | { readonly kind: "txn"; readonly result: TxnResult }
  | { readonly kind: "granted"; readonly lease: LeaseId }
  | { readonly kind: "renewed" }
  /** The store's revision once the lease and its keys were gone. */
  | { readonly kind: "revoked"; readonly revision: number };

/** Stamps grow with everything that happens: `returned < called` of two operations means one followed the other. */
export type Operation = {
  readonly id: number;
  readonly node: NodeId;
  readonly called: number;
  readonly action: Action;
} & (
  | { readonly kind: "ok"; readonly returned: number; readonly answer: Answer }
  /** It may have taken effect at any time after the call, may still do so, or never. */
  | { readonly kind: "unknown" }
  /** The store promised that it had no effect. */
  | { readonly kind: "failed"; readonly returned: number }
);

/** A lease that ended, revoked or by itself, and the revision after that, which is its own when it had keys. */
export interface Ending {
  readonly leases: readonly LeaseId[];
  readonly revision: number;
  readonly hasKeys: boolean;
}

export function keysOf(action: Action): readonly KeyText[] {
  if (action.kind === "read") return [action.key];
  if (action.kind !== "txn") return [];
  const { compare, then, else: otherwise } = action.txn;
  return [...new Set([...compare, ...then, ...otherwise].map(({ key }) => key))];
}

/** How many operations began while another one on a common key was under way. */
export function countOverlapping(operations: readonly Operation[]): number {
  const busyUntil = new Map<KeyText, number>();
  let count = 0;
  for (const operation of [...operations].sort((a, b) => a.called - b.called)) {
    const keys = keysOf(operation.action);
    if (keys.some((key) => (busyUntil.get(key) ?? -1) > operation.called)) count += 1;
    const until = operation.kind === "unknown" ? Infinity : operation.returned;
    for (const key of keys) busyUntil.set(key, Math.max(busyUntil.get(key) ?? -1, until));
  }
  return count;
}
