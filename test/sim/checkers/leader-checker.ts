// Owns: C12: one holder per leader epoch, and no write of another epoch is accepted: of clients that lead among
// themselves, and of the nodes' leader. It reads the log of changes alone.
import type { KvChangeSet } from "../../../src/kvstore/core/schema.ts";
import { parseLeaderRow } from "../../../src/cluster/core/rows.ts";
import { LEADER_KEY, type KeyText } from "../../../src/kvstore/core/key.ts";
import { CLIENT_LEADER_KEY, isLed, isOfOffice, parseTerm, type Term } from "../workloads/leading.ts";
import type { Violations } from "./violations.ts";

export interface LeaderStats {
  /** Epochs that began, and writes of leaders that were accepted: of clients. */
  epochs: number;
  ledWrites: number;
  /** The same of nodes. */
  nodeEpochs: number;
  nodeWrites: number;
}

/** A row that says who leads, and what only the leader writes. */
interface Reign {
  readonly row: KeyText;
  readonly isLed: (key: KeyText) => boolean;
  readonly termOfRow: (value: unknown) => Term | undefined;
}

const OF_CLIENTS: Reign = { row: CLIENT_LEADER_KEY, isLed, termOfRow: parseTerm };
const OF_NODES: Reign = { row: LEADER_KEY, isLed: isOfOffice, termOfRow: termOfLeader };

export function checkLeaders(log: readonly KvChangeSet[], violations: Violations): LeaderStats {
  const clients = checkReign(OF_CLIENTS, log, violations);
  const nodes = checkReign(OF_NODES, log, violations);
  return { ...clients, nodeEpochs: nodes.epochs, nodeWrites: nodes.ledWrites };
}

function checkReign(
  reign: Reign,
  log: readonly KvChangeSet[],
  violations: Violations,
): Pick<LeaderStats, "epochs" | "ledWrites"> {
  const stats = { epochs: 0, ledWrites: 0 };
  let ruling: Term = { epoch: 0, holder: "" };
  for (const { revision, changes } of log) {
    for (const change of changes) {
      if (change.kind === "delete") continue;
      const { key, value } = change.entry;
      if (key === reign.row) {
        const term = reign.termOfRow(value);
        if (term === undefined) continue;
        stats.epochs += 1;
        if (term.epoch !== ruling.epoch + 1) {
          violations.report("C12", `C12: epoch ${term.epoch} of ${term.holder} follows ${ruling.epoch} at ${revision}`);
        }
        ruling = term;
        continue;
      }
      const term = reign.isLed(key) ? parseTerm(value) : undefined;
      if (term === undefined) continue;
      stats.ledWrites += 1;
      if (term.epoch === ruling.epoch && term.holder === ruling.holder) continue;
      const wrote = `${term.holder} wrote as epoch ${term.epoch} at revision ${revision}`;
      violations.report("C12", `C12: ${wrote}, where epoch ${ruling.epoch} of ${ruling.holder} rules`);
    }
  }
  return stats;
}

function termOfLeader(value: unknown): Term {
  const { epoch, holder } = parseLeaderRow(value);
  return { epoch, holder: `${holder.node}/${holder.incarnation}` };
}
