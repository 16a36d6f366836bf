// Owns: the store's meaning in its simplest form: a map, one transaction after the other. Written against the
// documented semantics, without any code of the store.
import { isDeepStrictEqual } from "node:util";
import { unreachable } from "../../../src/base/assert.ts";
import type { KeyText } from "../../../src/kvstore/core/key.ts";
import type {
  Compare,
  KvChange,
  KvEntry,
  LeaseId,
  Op,
  OpResult,
  Txn,
  TxnResult,
} from "../../../src/kvstore/core/schema.ts";

export class ModelStore {
  private readonly entries = new Map<KeyText, KvEntry>();
  private readonly ended = new Set<LeaseId>();
  revision = 0;

  get(key: KeyText): KvEntry | undefined {
    return this.entries.get(key);
  }

  transact(txn: Txn): { readonly result: TxnResult; readonly changes: readonly KvChange[] } {
    const succeeded = this.isMet(txn);
    const changes: KvChange[] = [];
    const results: OpResult[] = [];
    for (const op of succeeded ? txn.then : txn.else) results.push(this.run(op, changes));
    if (changes.length > 0) this.revision += 1;
    return { result: { succeeded, revision: this.revision, results }, changes };
  }

  /** What would run of it now. */
  branchOf(txn: Txn): readonly Op[] {
    return this.isMet(txn) ? txn.then : txn.else;
  }

  hasEnded(lease: LeaseId): boolean {
    return this.ended.has(lease);
  }

  /** These leases end together: all their keys go, in one revision. Changes in the order of keys. */
  end(leases: readonly LeaseId[]): readonly KvChange[] {
    for (const lease of leases) this.ended.add(lease);
    const attached = [...this.entries.values()].filter(({ lease }) => lease !== undefined && leases.includes(lease));
    if (attached.length > 0) this.revision += 1;
    const keys = attached.map(({ key }) => key).sort();
    for (const key of keys) this.entries.delete(key);
    return keys.map((key) => ({ kind: "delete", key, modRevision: this.revision }));
  }

  private run(op: Op, changes: KvChange[]): OpResult {
    const before = this.entries.get(op.key);
    const modRevision = this.revision + 1;
    switch (op.kind) {
      case "get":
        return before === undefined ? { kind: "get" } : { kind: "get", entry: before };
      case "put": {
        const { createRevision, version } = before ?? { createRevision: modRevision, version: 0 };
        const attached = op.lease === undefined ? {} : { lease: op.lease };
        const entry = { key: op.key, value: op.value, modRevision, createRevision, version: version + 1, ...attached };
        this.entries.set(op.key, entry);
        changes.push({ kind: "put", entry });
        return { kind: "put" };
      }
      case "delete":
        if (before === undefined) return { kind: "delete", deleted: false };
        this.entries.delete(op.key);
        changes.push({ kind: "delete", key: op.key, modRevision });
        return { kind: "delete", deleted: true };
      default:
        return unreachable(op);
    }
  }

  private isMet(txn: Txn): boolean {
    return txn.compare.every((compare) => this.holds(compare));
  }

  private holds(compare: Compare): boolean {
    const entry = this.entries.get(compare.key);
    switch (compare.target) {
      case "exists":
        return (entry !== undefined) === (compare.value === (compare.op === "="));
      case "version":
        return holdsNumber(entry?.version ?? 0, compare.op, compare.value);
      case "modRevision":
        return holdsNumber(entry?.modRevision ?? 0, compare.op, compare.value);
      case "value": {
        const isEqual = entry !== undefined && isDeepStrictEqual(entry.value, compare.value);
        if (compare.op === "=") return isEqual;
        if (compare.op === "!=") return !isEqual;
        if (typeof entry?.value !== "number" || typeof compare.value !== "number") return false;
        return holdsNumber(entry.value, compare.op, compare.value);
      }
      default:
        return unreachable(compare);
    }
  }
}

function holdsNumber(left: number, op: Compare["op"], right: number): boolean {
  switch (op) {
    case "=":
      return left === right;
    case "!=":
      return left !== right;
    case "<":
      return left < right;
    case ">":
      return left > right;
    default:
      return unreachable(op);
  }
}
