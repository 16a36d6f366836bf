// Owns: C11 for the whole store, transactions over several keys included.
//
// Every answer carries the store's revision, so the store itself names the order in which it claims to have run the
// operations. That order is a proof of linearizability if it agrees with real time and if a model that runs the
// operations in it gives the same answers and the same changes. Nothing is searched for; a wrong answer, a lost or
// repeated effect, a stale read and a write from nowhere all break the proof.
import { isDeepStrictEqual } from "node:util";
import type { KvChange, KvChangeSet, Op } from "../../../src/kvstore/core/schema.ts";
import type { Operation } from "./history.ts";
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

/** `log` is the complete stream of changes from revision 1. */
export function checkStoreOrder(
  operations: readonly Operation[],
  log: readonly KvChangeSet[],
  violations: Violations,
): StoreOrderStats {
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
  const stats = placeUnknown({ open, writers, log, floors, report });
  replay({ writers, readers, log, report });
  return stats;
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

interface Unplaced {
  readonly open: readonly Operation[];
  readonly writers: Map<number, Placed>;
  readonly log: readonly KvChangeSet[];
  readonly floors: ReadonlyMap<number, number>;
  readonly report: Report;
}

/**
 * Finds the operation of unknown outcome behind each revision that no answered one claims. Written values are unique,
 * so at most deletes of one key are interchangeable; each that was called early enough is as good as any other.
 */
function placeUnknown({ open, writers, log, floors, report }: Unplaced): StoreOrderStats {
  const waiting = new Set(open);
  let unknownApplied = 0;
  for (const { revision, changes } of log) {
    if (writers.has(revision)) continue;
    const match = [...waiting].find((operation) => {
      return (floors.get(operation.id) ?? 0) < revision && couldHaveMade(operation, changes);
    });
    if (match === undefined) {
      report(`nobody can have written revision ${revision}: ${JSON.stringify(changes)}`);
      continue;
    }
    waiting.delete(match);
    unknownApplied += 1;
    writers.set(revision, { operation: match, revision, floor: floors.get(match.id) ?? 0 });
  }
  return { unknownApplied, unknownOpen: waiting.size };
}

function couldHaveMade(operation: Operation, changes: readonly KvChange[]): boolean {
  if (operation.action.kind !== "txn") return false;
  const { then, else: otherwise } = operation.action.txn;
  return matches(then, changes) || matches(otherwise, changes);
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
  readonly log: readonly KvChangeSet[];
  readonly report: Report;
}

/** Runs the claimed order through the model: each writer at its revision, then everybody who read that revision. */
function replay({ writers, readers, log, report }: Replay): void {
  const model = new ModelStore();
  const readersAt = new Map<number, Operation[]>();
  for (const { operation, revision } of readers) {
    const list = readersAt.get(revision);
    if (list === undefined) readersAt.set(revision, [operation]);
    else list.push(operation);
  }
  for (const operation of readersAt.get(0) ?? []) compareAnswer(model, operation, report);
  for (const [index, { revision, changes }] of log.entries()) {
    if (revision !== index + 1) report(`the log has revision ${revision} at place ${index + 1}`);
    const writer = writers.get(revision);
    if (writer === undefined) return;
    const made = compareAnswer(model, writer.operation, report);
    if (!isDeepStrictEqual(made, changes)) {
      report(`${name(writer.operation)} changed ${JSON.stringify(changes)}, it should have ${JSON.stringify(made)}`);
    }
    for (const operation of readersAt.get(revision) ?? []) compareAnswer(model, operation, report);
  }
  for (const revision of [...writers.keys(), ...readersAt.keys()]) {
    if (revision > log.length) report(`an answer has revision ${revision}, the log ends at ${log.length}`);
  }
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
  const { result, changes } = model.transact(action.txn);
  if (operation.kind === "ok" && operation.answer.kind === "txn") {
    const { result: told } = operation.answer;
    if (!isDeepStrictEqual(told, result)) report(`${name(operation)} was answered ${text(told)}, not ${text(result)}`);
  }
  return changes;
}

function revisionOf(operation: Operation & { readonly kind: "ok" }): number {
  return operation.answer.kind === "read" ? operation.answer.revision : operation.answer.result.revision;
}

function hasChanged(operation: Operation & { readonly kind: "ok" }): boolean {
  if (operation.answer.kind === "read") return false;
  return operation.answer.result.results.some((result) => {
    return result.kind === "put" || (result.kind === "delete" && result.deleted);
  });
}

function name(operation: Operation): string {
  return `operation ${operation.id} on ${operation.node}`;
}

function text(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}
