// Owns: C11 for the whole store, transactions over several keys included.
//
// Every answer carries the store's revision, so the store itself names the order in which it claims to have run the
// operations. That order is a proof of linearizability if it agrees with real time and if a model that runs the
// operations in it gives the same answers and the same changes. Nothing is searched for; a wrong answer, a lost or
// repeated effect, a stale read and a write from nowhere all break the proof. A revision in which leases ended has no
// operation behind it: it deletes the keys of these leases and nothing else.
import { isDeepStrictEqual } from "node:util";
import { unreachable } from "../../../src/base/assert.ts";
import type { KvChange, KvChangeSet, LeaseId, Op } from "../../../src/kvstore/core/schema.ts";
import type { Ending, Operation } from "./history.ts";
import { ModelStore } from "./model-store.ts";
import type { Violations } from "./violations.ts";

type Report = (message: string) => void;

/** An operation at its place in the order of revisions. */
interface Placed {
  readonly operation: Operation;
  readonly revision: number;
  /** The highest revision known to somebody when it was called. */
  readonly floor: number;
}

export interface StoreOrderStats {
  /** Operations of unknown outcome that took effect, and that left no effect. */
  unknownApplied: number;
  unknownOpen: number;
}

export interface StoreHistory {
  readonly operations: readonly Operation[];
  /** The complete stream of changes from revision 1. */
  readonly log: readonly KvChangeSet[];
  readonly endings?: readonly Ending[];
}

export function checkStoreOrder(history: StoreHistory, violations: Violations): StoreOrderStats {
  const { operations, log, endings = [] } = history;
  const report: Report = (message) => {
    violations.report("C11", `C11: ${message}`);
  };
  const floors = floorsOf(operations);
  const writers = new Map<number, Placed>();
  const readers: Placed[] = [];
  const open: Operation[] = [];
  for (const operation of operations) {
    const floor = floors.get(operation.id) ?? 0;
    if (operation.kind === "unknown") open.push(operation);
    if (operation.kind !== "ok") continue;
    const placed = { operation, revision: revisionOf(operation), floor };
    if (!hasChanged(operation)) {
      if (placed.revision < floor) report(`${name(operation)} read revision ${placed.revision}, ${floor} was known`);
      readers.push(placed);
      continue;
    }
    if (placed.revision <= floor) report(`${name(operation)} wrote revision ${placed.revision}, ${floor} was known`);
    const other = writers.get(placed.revision);
    if (other !== undefined) report(`${name(operation)} and ${name(other.operation)} both wrote ${placed.revision}`);
    writers.set(placed.revision, placed);
  }
  return replay({ writers, readers, open, floors, endings, log, report });
}

/** For each operation the highest revision that an answer had shown before it was called. */
function floorsOf(operations: readonly Operation[]): Map<number, number> {
  const moments: { readonly stamp: number; readonly operation: Operation; readonly isCall: boolean }[] = [];
  for (const operation of operations) {
    moments.push({ stamp: operation.called, operation, isCall: true });
    if (operation.kind === "ok") moments.push({ stamp: operation.returned, operation, isCall: false });
  }
  moments.sort((a, b) => a.stamp - b.stamp);
  const floors = new Map<number, number>();
  let highest = 0;
  for (const { operation, isCall } of moments) {
    if (isCall) floors.set(operation.id, highest);
    else if (operation.kind === "ok") highest = Math.max(highest, revisionOf(operation));
  }
  return floors;
}

/**
 * The operation of unknown outcome behind a revision that no answered one claims: one that makes these changes as the
 * store is then, and was called early enough. Any such is as good as any other: who takes a leadership writes the same
 * again when it does not know whether it has it.
 */
function findUnknown(
  { revision, changes }: KvChangeSet, waiting: ReadonlySet<Operation>, { model, floors }: Judged,
): Operation | undefined {
  return [...waiting].find(({ id, action }) => {
    return action.kind === "txn" && (floors.get(id) ?? 0) < revision && matches(model.branchOf(action.txn), changes);
  });
}

interface Judged {
  readonly model: ModelStore;
  readonly floors: ReadonlyMap<number, number>;
}

function matches(ops: readonly Op[], changes: readonly KvChange[]): boolean {
  const writes = ops.filter((op) => op.kind !== "get");
  if (changes.length === 0 || changes.length > writes.length) return false;
  return changes.every((change) =>
    writes.some((op) => {
      if (change.kind === "delete") return op.kind === "delete" && op.key === change.key;
      return op.kind === "put" && op.key === change.entry.key && isDeepStrictEqual(op.value, change.entry.value);
    }),
  );
}

interface Replay {
  readonly writers: ReadonlyMap<number, Placed>;
  readonly readers: readonly Placed[];
  /** Of unknown outcome. */
  readonly open: readonly Operation[];
  readonly floors: ReadonlyMap<number, number>;
  readonly endings: readonly Ending[];
  readonly log: readonly KvChangeSet[];
  readonly report: Report;
}

/** Runs the claimed order through the model: each writer at its revision, then everybody who read that revision. */
function replay({ writers, readers, open, floors, endings, log, report }: Replay): StoreOrderStats {
  const model = new ModelStore();
  const waiting = new Set(open);
  const readersAt = new Map<number, Operation[]>();
  for (const { operation, revision } of readers) pushAt(readersAt, revision, operation);
  const endingsAt = new Map<number, Ending[]>();
  for (const ending of endings) pushAt(endingsAt, ending.revision, ending);
  const rest = (revision: number): void => {
    // Leases without keys make no revision.
    for (const { leases, hasKeys } of endingsAt.get(revision) ?? []) {
      const made = hasKeys ? [] : model.end(leases);
      if (made.length > 0) report(`leases ${leases.join()} ended at ${revision} without their keys: ${text(made)}`);
    }
    for (const operation of readersAt.get(revision) ?? []) compareAnswer(model, operation, report);
  };
  rest(0);
  for (const [index, set] of log.entries()) {
    const { revision, changes } = set;
    if (revision !== index + 1) report(`the log has revision ${revision} at place ${index + 1}`);
    const ending = endingsAt.get(revision)?.find(({ hasKeys }) => hasKeys);
    const known = writers.get(revision)?.operation;
    const writer = known ?? (ending === undefined ? findUnknown(set, waiting, { model, floors }) : undefined);
    if (writer === undefined && ending === undefined) {
      report(`nobody can have written revision ${revision}: ${JSON.stringify(changes)}`);
      break;
    }
    if (writer !== undefined) {
      waiting.delete(writer);
      replayWrite(model, writer, changes, report);
    }
    if (ending !== undefined) replayEnding(model, ending.leases, set, report);
    rest(revision);
  }
  for (const revision of [...writers.keys(), ...readersAt.keys()]) {
    if (revision > log.length) report(`an answer has revision ${revision}, the log ends at ${log.length}`);
  }
  return { unknownApplied: open.length - waiting.size, unknownOpen: waiting.size };
}

function pushAt<T>(lists: Map<number, T[]>, at: number, item: T): void {
  const list = lists.get(at);
  if (list === undefined) lists.set(at, [item]);
  else list.push(item);
}

function replayWrite(model: ModelStore, operation: Operation, changes: readonly KvChange[], report: Report): void {
  const made = compareAnswer(model, operation, report);
  if (!isDeepStrictEqual(made, changes)) {
    report(`${name(operation)} changed ${text(changes)}, it should have ${text(made)}`);
  }
  for (const change of made) {
    const lease = change.kind === "put" ? change.entry.lease : undefined;
    if (lease !== undefined && model.hasEnded(lease)) report(`${name(operation)} used lease ${lease}, which had ended`);
  }
}

/** In which order the keys of a lease go is nobody's business. */
function replayEnding(model: ModelStore, leases: readonly LeaseId[], set: KvChangeSet, report: Report): void {
  const made = model.end(leases);
  const found = [...set.changes].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  if (isDeepStrictEqual(made, found)) return;
  report(`the end of leases ${leases.join()} changed ${text(found)} at ${set.revision}, it should have ${text(made)}`);
}

function keyOf(change: KvChange): string {
  return change.kind === "put" ? change.entry.key : change.key;
}

/** What the model changes when it runs the operation; reports an answer that the model would not give. */
function compareAnswer(model: ModelStore, operation: Operation, report: Report): readonly KvChange[] {
  const { action } = operation;
  if (action.kind === "read") {
    const expected = model.get(action.key);
    if (operation.kind === "ok" && operation.answer.kind === "read") {
      const { entry, revision } = operation.answer;
      if (!isDeepStrictEqual(entry, expected)) {
        report(`${name(operation)} read ${text(entry)} at revision ${revision}, it should be ${text(expected)}`);
      }
    }
    return [];
  }
  if (action.kind === "revoke" && operation.kind === "ok" && !model.hasEnded(action.lease)) {
    report(`${name(operation)} was told that lease ${action.lease} has ended, and it has not`);
  }
  if (action.kind !== "txn") return [];
  const { result, changes } = model.transact(action.txn);
  if (operation.kind === "ok" && operation.answer.kind === "txn") {
    const { result: told } = operation.answer;
    if (!isDeepStrictEqual(told, result)) report(`${name(operation)} was answered ${text(told)}, not ${text(result)}`);
  }
  return changes;
}

function revisionOf({ answer }: Operation & { readonly kind: "ok" }): number {
  switch (answer.kind) {
    case "read":
    case "revoked":
      return answer.revision;
    case "txn":
      return answer.result.revision;
    case "granted":
    case "renewed":
      return 0;
    default:
      return unreachable(answer);
  }
}

function hasChanged({ answer }: Operation & { readonly kind: "ok" }): boolean {
  if (answer.kind !== "txn") return false;
  return answer.result.results.some((result) => {
    return result.kind === "put" || (result.kind === "delete" && result.deleted);
  });
}

function name(operation: Operation): string {
  return `operation ${operation.id} on ${operation.node}`;
}

function text(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}
