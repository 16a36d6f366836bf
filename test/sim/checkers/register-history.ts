// Owns: what the clients' history says about one register: the plain operations that the register checker judges.
import { assert, present } from "../../../src/base/assert.ts";
import type { KeyText } from "../../../src/kvstore/core/key.ts";
import { keysOf, type Operation } from "./history.ts";
import type { RegisterAction, RegisterOperation } from "./register-checker.ts";

/** `key` is one that only single-key operations touch. */
export function registerHistoryOf(key: KeyText, history: readonly Operation[]): readonly RegisterOperation[] {
  return history
    .filter((operation) => operation.kind !== "failed" && keysOf(operation.action).includes(key))
    .map(toRegisterOperation);
}

function toRegisterOperation(operation: Operation): RegisterOperation {
  const { id, called } = operation;
  const returned = operation.kind === "unknown" ? undefined : operation.returned;
  return { id, called, returned, action: registerActionOf(operation) };
}

function registerActionOf(operation: Operation): RegisterAction {
  const answer = operation.kind === "ok" ? operation.answer : undefined;
  if (operation.action.kind === "read") {
    return { kind: "get", saw: answer?.kind === "read" ? textOf(answer.entry?.value) : undefined };
  }
  assert(operation.action.kind === "txn", "an operation on a register reads or writes");
  const { compare, then } = operation.action.txn;
  const op = present(then[0], "an operation on a register has one step");
  const result = answer?.kind === "txn" ? answer.result : undefined;
  if (op.kind === "delete") {
    const [first] = result?.results ?? [];
    return { kind: "delete", deleted: first?.kind === "delete" && first.deleted };
  }
  const value = op.kind === "put" ? textOf(op.value) : undefined;
  const [guard] = compare;
  if (guard === undefined) return { kind: "put", value: value ?? "" };
  const [found] = result?.results ?? [];
  const kept = found?.kind === "get" ? textOf(found.entry?.value) : undefined;
  return {
    kind: "cas",
    expected: textOf(guard.value) ?? "",
    value: value ?? "",
    saw: result?.succeeded === true ? { kind: "swapped" } : { kind: "kept", value: kept },
  };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
