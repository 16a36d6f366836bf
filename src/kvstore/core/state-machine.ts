// Owns: what a command does to the state: compares, puts, deletes and revisions, leases that end, the quota.
// Does not own: where entries are kept (kv-state.ts), time, or any judgement beyond the compares of a command.
//
// Every replica runs exactly this on the same commands, so it is small, total and stable: changing what a command
// means needs a new command format.
import { assert, unreachable } from "../../base/assert.ts";
import type { ErrorDetails } from "../../base/errors.ts";
import { parseCommand, type SeenLease } from "./command.ts";
import type { KeyText } from "./key.ts";
import { LEASE_KEYS_MAX, LEASES_MAX, LeaseTable } from "./lease-table.ts";
import { QUOTA_BYTES_DEFAULT } from "./limits.ts";
import { refuseGrowth } from "./quota.ts";
import { contentOf } from "./request-content.ts";
import { RequestLog } from "./request-log.ts";
import { ONE_PUT, PUT_DONE } from "./request-page.ts";
import type { CompareOp, LeaseId, RequestRef } from "./schema.ts";
import { StateRows } from "./state-rows.ts";
import { encodeEntry, type AttachedLease, type StoredEntry } from "./stored-entry.ts";
import { numberOf, parseRow, QUOTA_ROW, type LeaseRow } from "./system-rows.ts";
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

export interface DoneResult {
  readonly kind: "done";
  readonly succeeded: boolean;
  /** Revision after the command. */
  readonly revision: number;
  readonly results: readonly StoredOpResult[];
  /** In the order they were made; empty when nothing changed. */
  readonly changes: readonly StoredChange[];
}

export type CommandResult =
  | DoneResult
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

const NO_CHANGES: readonly StoredChange[] = [];

/** The replicated state machine of the store, over entries that somebody else keeps. */
export class KvStateMachine {
  private readonly rows: StateRows;
  private readonly leases: LeaseTable;
  private readonly requests: RequestLog;
  private currentRevision: number;
  private quota: number;

  /** `machine` is what `save` gave, or undefined for an empty state. @throws AetherError E_DATA_CORRUPT */
  constructor(
    entries: StateEntries,
    start: { readonly revision: number; readonly stateHash: number; readonly machine?: unknown },
  ) {
    const { revision, stateHash, machine } = start;
    this.rows = new StateRows(entries, { stateHash, liveBytes: machine === undefined ? 0 : numberOf(machine) });
    this.leases = new LeaseTable(this.rows);
    this.requests = new RequestLog(this.rows, this.leases);
    this.currentRevision = revision;
    this.quota = this.readQuota();
  }

  get revision(): number {
    return this.currentRevision;
  }

  /** A chain over every change so far: equal on all replicas with the same history. */
  get stateHash(): number {
    return this.rows.stateHash;
  }

  /** What the store weighs, in bytes. */
  get liveBytes(): number {
    return this.rows.liveBytes;
  }

  get quotaBytes(): number {
    return this.quota;
  }

  /** Before a checkpoint: puts what it holds back into the entries, and gives what goes into the record beside them. */
  save(): unknown {
    this.requests.save();
    return this.rows.liveBytes;
  }

  /** @throws AetherError E_DATA_CORRUPT */
  get leaseCount(): number {
    return this.leases.count;
  }

  lease(lease: LeaseId): LeaseRow | undefined {
    return this.leases.find(lease);
  }

  /** Applies one decoded command, whatever it is. */
  apply(decoded: unknown): CommandResult {
    const command = parseCommand(decoded);
    switch (command.kind) {
      case "txn":
        return command.request === undefined ? this.applyTxn(command) : this.applyOnce(command, command.request);
      case "grant":
        return this.grant(command.ttlMs, command.requests);
      case "renew":
        return this.renew(command.leases);
      case "revoke": {
        const row = this.leases.find(command.lease);
        if (row === undefined) return refuse("E_NOT_FOUND", noSuchLease(command.lease), { lease: command.lease });
        return this.end([command.lease]);
      }
      case "expire":
        return this.end(command.leases.filter((seen) => this.isStill(seen)).map(({ lease }) => lease));
      case "quota":
        this.rows.writeOwn(QUOTA_ROW, [command.bytes]);
        this.quota = command.bytes;
        return { kind: "configured" };
      case "malformed":
        return refuse("E_INVALID", command.reason);
      default:
        return unreachable(command);
    }
  }

  private applyOnce(txn: TxnCommand, request: RequestRef): CommandResult {
    const found = this.requests.find(request, contentOf(txn));
    if (found.kind === "seen") return found.result;
    const result = this.applyTxn(txn);
    // What was refused has changed nothing: it may be tried again under the same number.
    if (result.kind === "done") this.requests.remember(request, found, result);
    return result;
  }

  private applyTxn(txn: TxnCommand): DoneResult | RefusedCommand {
    const succeeded = txn.compare.every((compare) => this.holds(compare));
    const ops = succeeded ? txn.then : txn.else;
    const refusal = this.refuseLeases(ops) ?? refuseGrowth(ops, this.rows, this.quota);
    if (refusal !== undefined) return refusal;
    const next = this.currentRevision + 1;
    const changes: StoredChange[] = [];
    const results = this.applyOps(ops, next, changes);
    if (changes.length === 0) {
      return { kind: "done", succeeded, revision: this.currentRevision, results, changes: NO_CHANGES };
    }
    this.currentRevision = next;
    return { kind: "done", succeeded, revision: next, results, changes };
  }

  private applyOps(ops: readonly CommandOp[], revision: number, changes: StoredChange[]): readonly StoredOpResult[] {
    const [first] = ops;
    // Most transactions: their results are one and the same list.
    if (ops.length === 1 && first?.kind === "put") {
      this.applyOp(first, revision, changes);
      return ONE_PUT;
    }
    return ops.map((op) => this.applyOp(op, revision, changes));
  }

  private applyOp(op: CommandOp, revision: number, changes: StoredChange[]): StoredOpResult {
    switch (op.kind) {
      case "put":
        changes.push(this.put(op, revision));
        return PUT_DONE;
      case "delete": {
        const before = this.rows.read(op.key);
        if (before === undefined) return { kind: "delete", deleted: false };
        if (before.lease !== undefined) this.leases.detach(before.lease.id, before.lease.slot);
        changes.push(this.remove(op.key, before, revision));
        return { kind: "delete", deleted: true };
      }
      case "get":
        return { kind: "get", key: op.key, entry: this.rows.read(op.key) };
      default:
        return unreachable(op);
    }
  }

  private put({ key, value, lease }: Extract<CommandOp, { kind: "put" }>, revision: number): StoredChange {
    const before = this.rows.read(key);
    const entry = encodeEntry(key, {
      value,
      modRevision: revision,
      createRevision: before?.createRevision ?? revision,
      version: (before?.version ?? 0) + 1,
      lease: this.attach(key, lease, before?.lease),
    });
    this.rows.put(key, entry, before);
    return { kind: "put", key, entry, before };
  }

  private remove(key: KeyText, before: StoredEntry, revision: number): StoredChange {
    this.rows.remove(key, before, revision);
    return { kind: "delete", key, modRevision: revision, before };
  }

  /** Where the key is attached after a put: to the put's lease, and to none but that. */
  private attach(
    key: KeyText,
    lease: LeaseId | undefined,
    before: AttachedLease | undefined,
  ): AttachedLease | undefined {
    if (before?.id === lease) return before;
    if (before !== undefined) this.leases.detach(before.id, before.slot);
    return lease === undefined ? undefined : { id: lease, slot: this.leases.attach(lease, key) };
  }

  /** What is wrong with the leases of these puts, if anything is. */
  private refuseLeases(ops: readonly CommandOp[]): RefusedCommand | undefined {
    let joining: Map<LeaseId, Set<KeyText>> | undefined;
    for (const op of ops) {
      if (op.kind !== "put" || op.lease === undefined) continue;
      joining ??= new Map();
      const keys = joining.get(op.lease) ?? new Set();
      joining.set(op.lease, keys);
      if (this.rows.read(op.key)?.lease?.id !== op.lease) keys.add(op.key);
    }
    for (const [lease, keys] of joining ?? []) {
      const row = this.leases.find(lease);
      if (row === undefined) return refuse("E_NOT_FOUND", noSuchLease(lease), { lease });
      const actual = row.keys + keys.size;
      if (actual <= LEASE_KEYS_MAX) continue;
      const reason = `keys of lease ${lease}: ${actual} is over the limit of ${LEASE_KEYS_MAX}; use a second lease`;
      return refuse("E_TOO_LARGE", reason, { lease, limit: LEASE_KEYS_MAX, actual });
    }
    return undefined;
  }

  private grant(ttlMs: number, requests: boolean): CommandResult {
    const lease = this.leases.grant(ttlMs, requests);
    if (lease !== undefined) return { kind: "granted", lease, ttlMs };
    const reason = `there are ${LEASES_MAX} leases, the limit: revoke one, or wait until some have ended`;
    return refuse("E_OVERLOADED", reason, { limit: LEASES_MAX });
  }

  private renew(leases: readonly LeaseId[]): CommandResult {
    const renewed: SeenLease[] = [];
    const gone: LeaseId[] = [];
    for (const lease of leases) {
      const renewals = this.leases.renew(lease);
      if (renewals === undefined) gone.push(lease);
      else renewed.push({ lease, renewals });
    }
    return { kind: "renewed", leases: renewed, gone };
  }

  private isStill({ lease, renewals }: SeenLease): boolean {
    return this.leases.find(lease)?.renewals === renewals;
  }

  private end(leases: readonly LeaseId[]): CommandResult {
    const next = this.currentRevision + 1;
    const ended: LeaseId[] = [];
    const changes: StoredChange[] = [];
    for (const lease of leases) {
      const row = this.leases.find(lease);
      // Named twice in one command.
      if (row === undefined) continue;
      ended.push(lease);
      this.requests.end(lease, row);
      for (const key of this.leases.end(lease, row)) {
        const before = this.rows.read(key);
        assert(before?.lease?.id === lease, "a key that a lease names is attached to it");
        changes.push(this.remove(key, before, next));
      }
    }
    if (changes.length > 0) this.currentRevision = next;
    return { kind: "ended", leases: ended, revision: this.currentRevision, changes };
  }

  private readQuota(): number {
    const value = this.rows.readOwn(QUOTA_ROW);
    return value === undefined ? QUOTA_BYTES_DEFAULT : numberOf(parseRow(value)[0]);
  }

  private holds(compare: CommandCompare): boolean {
    const entry = this.rows.read(compare.key);
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

function refuse(code: RefusedCommand["code"], reason: string, details: ErrorDetails = {}): RefusedCommand {
  return { kind: "refused", code, reason, outcome: "not-applied", details };
}

function noSuchLease(lease: LeaseId): string {
  return `there is no lease ${lease}: it has ended; grant a new one`;
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
