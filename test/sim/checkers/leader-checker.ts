// Owns: C12: one holder per leader epoch, and no write of another epoch is accepted. It reads the log of changes alone.
import type { KvChangeSet } from "../../../src/kvstore/core/schema.ts";
import { LEADER_KEY } from "../../../src/kvstore/core/key.ts";
import { isLed, parseTerm, type Term } from "../workloads/leading.ts";
import type { Violations } from "./violations.ts";

export interface LeaderStats {
  /** Epochs that began. */
  epochs: number;
  /** Writes of leaders that were accepted. */
  ledWrites: number;
}

export function checkLeaders(log: readonly KvChangeSet[], violations: Violations): LeaderStats {
  const stats = { epochs: 0, ledWrites: 0 };
  let ruling: Term = { epoch: 0, holder: "" };
  for (const { revision, changes } of log) {
    for (const change of changes) {
      if (change.kind === "delete") continue;
      const { key, value } = change.entry;
      const term = key === LEADER_KEY || isLed(key) ? parseTerm(value) : undefined;
      if (term === undefined) continue;
      if (key === LEADER_KEY) {
        stats.epochs += 1;
        if (term.epoch !== ruling.epoch + 1) {
          violations.report("C12", `C12: epoch ${term.epoch} of ${term.holder} follows ${ruling.epoch} at ${revision}`);
        }
        ruling = term;
        continue;
      }
      stats.ledWrites += 1;
      if (term.epoch === ruling.epoch && term.holder === ruling.holder) continue;
      const wrote = `${term.holder} wrote as epoch ${term.epoch} at revision ${revision}`;
      violations.report("C12", `C12: ${wrote}, where epoch ${ruling.epoch} of ${ruling.holder} rules`);
    }
  }
  return stats;
}
