// Owns: what a transaction does to the state: compares, puts, deletes, revisions and the rolling hash.
// Does not own: where entries are kept (kv-state.ts), time, or any judgement beyond the compares of a command.
//
// Every replica runs exactly this on the same commands, so it is small, total and stable: changing what a command
// means needs a new command format.
import { unreachable } from "../../base/assert.ts";
import type { ErrorDetails } from "../../base/errors.ts";
import { parseCommand, type SeenLease } from "./command.ts";
import type { KeyText } from "./key.ts";
import type { CompareOp, LeaseId } from "./schema.ts";
import { checksumOfDeletion, encodeEntry, type StoredEntry } from "./stored-entry.ts";
import type { CommandCompare, CommandOp, TxnCommand } from "./txn.ts";
import { decodeValueOrNone } from "./value.ts";

/** The entries the machine works on. All changes of one command are made before its result is returned. */
export interface StateEntries {
  read(key: KeyText): StoredEntry | undefined;
  put(key: KeyText, entry: StoredEntry): void;
  remove(key: KeyText): void;
}

/** One change, with the entry that was there before it: enough to undo it. */
export type StoredChange =
  | {
      readonly kind: "put";
      readonly key: KeyText;
      readonly entry: StoredEntry;
      readonly before: StoredEntry | undefined;
    }
  | { readonly kind: "delete"; readonly key: KeyText; readonly modRevision: number; readonly before: StoredEntry };

export type StoredOpResult =
  | { readonly kind: "put" }
  | { readonly kind: "delete"; readonly deleted: boolean }
  | { readonly kind: "get"; readonly key: KeyText; readonly entry: StoredEntry | undefined };

export type CommandResult =
  | {
      readonly kind: "done";
      readonly succeeded: boolean;
      /** Revision after the command. */
      readonly revision: number;
      readonly results: readonly StoredOpResult[];
      /** In the order they were made; empty when nothing changed. */
      readonly changes: readonly StoredChange[];
    }
  | { readonly kind: "granted"; readonly lease: LeaseId; readonly ttlMs: number }
  | { readonly kind: "renewed"; readonly leases: readonly SeenLease[]; readonly gone: readonly LeaseId[] }
  /** Leases that ended, and the deletions of their keys in one revision. */
  | {
      readonly kind: "ended";
      readonly leases: readonly LeaseId[];
      readonly revision: number;
      readonly changes: readonly StoredChange[];
    }
  | { readonly kind: "configured" }
  | RefusedCommand;

/** Changed nothing, alike on every replica. */
export interface RefusedCommand {
  readonly kind: "refused";
  readonly code: "E_INVALID" | "E_NOT_FOUND" | "E_CONFLICT" | "E_TOO_LARGE" | "E_OVERLOADED" | "E_QUOTA";
  readonly reason: string;
  /** "unknown" when an earlier copy of the same request may have changed something. */
  readonly outcome: "not-applied" | "unknown";
  readonly details: ErrorDetails;
}

const PUT_DONE: StoredOpResult = { kind: "put" };
const NO_CHANGES: readonly StoredChange[] = [];

/** The replicated state machine of the store, over entries that somebody else keeps. */
export class KvStateMachine {
  private readonly entries: StateEntries;
  private currentRevision: number;
  private currentHash: number;

  /** `machine` is what `save` gave, or undefined for an empty state. */
  constructor(
    entries: StateEntries,
    start: { readonly revision: number; readonly stateHash: number; readonly machine?: unknown },
  ) {
    this.entries = entries;
    this.currentRevision = start.revision;
    this.currentHash = start.stateHash;
  }

  get revision(): number {
    return this.currentRevision;
  }

  /** A chain over every change so far: equal on all replicas with the same history. */
  get stateHash(): number {
    return this.currentHash;
  }

  /** What it keeps beside the entries, for the record of a checkpoint: plain data. */
  save(): unknown {
    return undefined;
  }

  /** Applies one decoded command, whatever it is. */
  apply(decoded: unknown): CommandResult {
    const command = parseCommand(decoded);
    switch (command.kind) {
      case "txn":
        return this.applyTxn(command);
      case "malformed":
        return refused("E_INVALID", command.reason);
      case "grant":
      case "renew":
      case "revoke":
      case "expire":
      case "quota":
        return refused("E_INVALID", "this version does not apply it");
      default:
        return unreachable(command);
    }
  }

  private applyTxn(txn: TxnCommand): CommandResult {
    const succeeded = txn.compare.every((compare) => this.holds(compare));
    const next = this.currentRevision + 1;
    const changes: StoredChange[] = [];
    const results = (succeeded ? txn.then : txn.else).map((op) => this.applyOp(op, next, changes));
    if (changes.length === 0) {
      return { kind: "done", succeeded, revision: this.currentRevision, results, changes: NO_CHANGES };
    }
    this.currentRevision = next;
    return { kind: "done", succeeded, revision: next, results, changes };
  }

  private applyOp(op: CommandOp, revision: number, changes: StoredChange[]): StoredOpResult {
    switch (op.kind) {
      case "put": {
        const before = this.entries.read(op.key);
        const entry = encodeEntry(op.key, {
          value: op.value,
          modRevision: revision,
          createRevision: before?.createRevision ?? revision,
          version: (before?.version ?? 0) + 1,
        });
        this.entries.put(op.key, entry);
        this.currentHash = chain(this.currentHash, entry.checksum);
        changes.push({ kind: "put", key: op.key, entry, before });
        return PUT_DONE;
      }
      case "delete": {
        const before = this.entries.read(op.key);
        if (before === undefined) return { kind: "delete", deleted: false };
        this.entries.remove(op.key);
        this.currentHash = chain(this.currentHash, checksumOfDeletion(op.key, revision));
        changes.push({ kind: "delete", key: op.key, modRevision: revision, before });
        return { kind: "delete", deleted: true };
      }
      case "get":
        return { kind: "get", key: op.key, entry: this.entries.read(op.key) };
      default:
        return unreachable(op);
    }
  }

  private holds(compare: CommandCompare): boolean {
    const entry = this.entries.read(compare.key);
    switch (compare.kind) {
      case "number":
        return isOrdered(compare.op, entry?.[compare.target] ?? 0, compare.value);
      case "exists":
        return (entry !== undefined) === compare.value ? compare.op === "=" : compare.op === "!=";
      case "value":
        return valueHolds(compare.op, entry?.value, compare.value);
      default:
        return unreachable(compare);
    }
  }
}

function refused(code: RefusedCommand["code"], reason: string): RefusedCommand {
  return { kind: "refused", code, reason, outcome: "not-applied", details: {} };
}

// An absent key has no value: it is different from every value, and neither above nor below one.
function valueHolds(op: CompareOp, found: Uint8Array | undefined, wanted: Uint8Array): boolean {
  switch (op) {
    case "=":
      return found !== undefined && isSame(found, wanted);
    case "!=":
      return found === undefined || !isSame(found, wanted);
    case "<":
    case ">": {
      if (found === undefined) return false;
      const a = decodeValueOrNone(found);
      const b = decodeValueOrNone(wanted);
      if (typeof a === "number" && typeof b === "number") return isOrdered(op, a, b);
      if (typeof a === "string" && typeof b === "string") return isOrdered(op, a, b);
      return false;
    }
    default:
      return unreachable(op);
  }
}

function isOrdered<T extends number | string>(op: CompareOp, a: T, b: T): boolean {
  switch (op) {
    case "=":
      return a === b;
    case "!=":
      return a !== b;
    case "<":
      return a < b;
    case ">":
      return a > b;
    default:
      return unreachable(op);
  }
}

// Canonical encoding: the same data is the same bytes.
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

// Depends on the order of changes; the bytes themselves are covered by each change's CRC-32.
function chain(hash: number, checksum: number): number {
  const turned = (hash << 5) | (hash >>> 27);
  return Math.imul(turned ^ checksum, 0x9e3779b1) >>> 0;
}
