// Owns: the last state that one stopped node can know, rebuilt from its journal without the others: what it recorded as
// decided, and after that what it had voted for, which others may have decided and acknowledged.
// Does not own: where that state goes, and that nobody may go on with the old cluster afterwards.
import { AetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { AppendLog } from "../env/append-log.ts";
import type { Identity } from "./core/journal-record.ts";
import { type Ballot, type Outcome, UNSURE } from "./core/message.ts";
import { Journal } from "./journal.ts";
import { Recovery } from "./recovery.ts";
import type { ReplicatedStateMachine } from "./state-machine.ts";

export interface LastState {
  /** Who votes, as far as this node knows. */
  readonly voters: readonly NodeId[];
  /** Slots [0, slots) are in the state. */
  readonly slots: number;
  /** So many of them, the last ones, by the own vote alone. */
  readonly votedSlots: number;
  /** Later slots that this node had a part in: what was decided there is not known. */
  readonly openSlots: number;
}

/** Whose journal this is. @throws AetherError E_DATA_CORRUPT, E_VERSION, E_NOT_FOUND for an empty one */
export async function readIdentity(wal: AppendLog): Promise<Identity> {
  let found: Identity | undefined;
  await Journal.open(wal, ({ entries }) => {
    for (const entry of entries) if (entry.kind === "identity") found = entry.identity;
  });
  if (found !== undefined) return found;
  throw new AetherError("E_NOT_FOUND", "the journal is empty: no node has run on this directory");
}

/**
 * Applies to the state everything that this node knows.
 * @throws AetherError E_DATA_CORRUPT, E_VERSION, E_REMOVED, E_CONFLICT for a node whose cluster never formed
 */
export async function replayLastState(
  wal: AppendLog,
  stateMachine: ReplicatedStateMachine,
  identity: Identity,
): Promise<LastState> {
  const recovery = new Recovery(stateMachine, identity);
  const journal = await Journal.open(wal, (record) => recovery.take(record));
  refuseUnusable(recovery, stateMachine);
  recovery.checkComplete(journal.decidedSlots);
  const recorded = recovery.applied;
  const open = new Set(recovery.ballots.map(({ slot }) => slot));
  for (;;) {
    const outcome = likeliest(recovery.ballots.filter(({ slot }) => slot === recovery.applied));
    if (outcome === undefined || !recovery.assume(outcome)) break;
  }
  return {
    voters: recovery.log.membership.rulingAt(recovery.applied).nodes,
    slots: recovery.applied,
    votedSlots: recovery.applied - recorded,
    openSlots: [...open].filter((slot) => slot >= recovery.applied).length,
  };
}

function refuseUnusable({ removed, diverged, gap, isFormed }: Recovery, state: ReplicatedStateMachine): void {
  if (removed !== undefined) throw new AetherError("E_REMOVED", `${removed}; use the directory of another node`);
  const damage = state.damage ?? gap;
  if (damage !== undefined) throw damage;
  if (diverged !== undefined || state.needsSnapshot) {
    const reason = diverged ?? "the state was set aside";
    throw new AetherError("E_DATA_CORRUPT", `${reason}: use the directory of another node, or a backup`);
  }
  if (isFormed) return;
  const message = "the cluster of this directory never formed, so there is nothing in it: begin a new one";
  throw new AetherError("E_CONFLICT", message, { outcome: "not-applied" });
}

/** What was decided in a slot if anything was, by the last ballot there of this node. */
function likeliest(ballots: readonly Ballot[]): Outcome | undefined {
  const rank = ({ phase, kind }: Ballot): number => 2 * phase + (kind === "vote" ? 1 : 0);
  const last = [...ballots].sort((a, b) => rank(a) - rank(b)).at(-1);
  return last === undefined || last.choice === UNSURE ? undefined : last.choice;
}
