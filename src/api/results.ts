// Owns: results of the store as compact arrays, both directions: what `ok` and `changes` of the protocol carry.
import { unreachable } from "../base/assert.ts";
import { parseKeyText } from "../kvstore/core/key.ts";
import type { KvChange, KvChangeSet, KvEntry, OpResult, TxnResult } from "../kvstore/core/schema.ts";
import type { GrantedLease, KvPage, KvRead } from "../kvstore/kv.ts";
import { boolean, count, list, malformed, text } from "./core/message-fields.ts";

export function readFields(read: KvRead): readonly unknown[] {
  return [read.revision, read.entry === undefined ? null : entryFields(read.entry)];
}

export function parseRead(value: unknown): KvRead {
  const [revision, entry] = list(value, "read");
  return { revision: count(revision, "revision"), ...(entry === null ? {} : { entry: parseEntry(entry) }) };
}

export function pageFields(page: KvPage): readonly unknown[] {
  return [page.entries.map(entryFields), page.revision, page.more];
}

export function parsePage(value: unknown): KvPage {
  const [entries, revision, more] = list(value, "page");
  return {
    entries: list(entries, "entries").map(parseEntry),
    revision: count(revision, "revision"),
    more: boolean(more, "more"),
  };
}

export function txnResultFields(result: TxnResult): readonly unknown[] {
  return [result.succeeded, result.revision, result.results.map(opResultField)];
}

export function parseTxnResult(value: unknown): TxnResult {
  const [succeeded, revision, results] = list(value, "txn");
  return {
    succeeded: boolean(succeeded, "succeeded"),
    revision: count(revision, "revision"),
    results: list(results, "results").map(parseOpResult),
  };
}

export function changeFields(changes: KvChangeSet): readonly unknown[] {
  return changes.changes.map((change) =>
    change.kind === "put" ? entryFields(change.entry) : [change.key, change.modRevision],
  );
}

export function parseChanges(revision: number, value: unknown): KvChangeSet {
  return { revision, changes: list(value, "changes").map(parseChange) };
}

export function grantFields({ lease, ttlMs }: GrantedLease): readonly unknown[] {
  return [lease, ttlMs];
}

export function parseGrant(value: unknown): GrantedLease {
  const [lease, ttlMs] = list(value, "grant");
  return { lease: count(lease, "lease"), ttlMs: count(ttlMs, "ttlMs") };
}

/** A node's answer about itself and the others. */
export interface Members {
  readonly isReady: boolean;
  /** Where the API of each node is reached, as far as they have said so. */
  readonly addresses: readonly string[];
}

export function membersFields({ isReady, addresses }: Members): readonly unknown[] {
  return [isReady, addresses];
}

export function parseMembers(value: unknown): Members {
  const [isReady, addresses] = list(value, "members");
  return {
    isReady: boolean(isReady, "isReady"),
    addresses: list(addresses, "addresses").map((address) => text(address, "address")),
  };
}

function parseChange(value: unknown): KvChange {
  const fields = list(value, "change");
  if (fields.length > 2) return { kind: "put", entry: parseEntry(fields) };
  return { kind: "delete", key: parseKeyText(text(fields[0], "key")), modRevision: count(fields[1], "modRevision") };
}

function entryFields(entry: KvEntry): readonly unknown[] {
  const fields = [entry.key, entry.value, entry.modRevision, entry.createRevision, entry.version];
  return entry.lease === undefined ? fields : [...fields, entry.lease];
}

function parseEntry(value: unknown): KvEntry {
  const fields = list(value, "entry");
  return {
    key: parseKeyText(text(fields[0], "key")),
    value: fields[1],
    modRevision: count(fields[2], "modRevision"),
    createRevision: count(fields[3], "createRevision"),
    version: count(fields[4], "version"),
    ...(fields[5] === undefined ? {} : { lease: count(fields[5], "lease") }),
  };
}

// A put says nothing more than that it happened; the type tells the others apart.
function opResultField(result: OpResult): unknown {
  switch (result.kind) {
    case "put":
      return 0;
    case "delete":
      return result.deleted;
    case "get":
      return result.entry === undefined ? null : entryFields(result.entry);
    default:
      return unreachable(result);
  }
}

function parseOpResult(value: unknown): OpResult {
  if (value === 0) return { kind: "put" };
  if (typeof value === "boolean") return { kind: "delete", deleted: value };
  if (value === null) return { kind: "get" };
  if (Array.isArray(value)) return { kind: "get", entry: parseEntry(value) };
  throw malformed("result");
}
