// Owns: what transfers must keep: every read of all accounts shows the same total. It trusts neither revisions nor the
// other checkers.
import { isReadOfAll, totalOf, TOTAL_BALANCE } from "../workloads/actions.ts";
import type { Operation } from "./history.ts";
import type { Violations } from "./violations.ts";

export function checkAccounts(history: readonly Operation[], violations: Violations): void {
  for (const operation of history) {
    if (operation.kind !== "ok" || operation.action.kind !== "txn" || operation.answer.kind !== "txn") continue;
    const { succeeded, results } = operation.answer.result;
    if (!isReadOfAll(succeeded ? operation.action.txn.then : operation.action.txn.else)) continue;
    const total = totalOf(results.map((result) => (result.kind === "get" ? result.entry : undefined)));
    if (total === TOTAL_BALANCE) continue;
    const where = `operation ${operation.id} on ${operation.node}`;
    violations.report("C11", `C11: ${where} read accounts of ${total} together, there are ${TOTAL_BALANCE}`);
  }
}
