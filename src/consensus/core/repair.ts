// Owns: what is said again, and what is asked for, when messages were lost or this node is behind: pure questions over
// the replica's parts. Does not own: when (repairs.ts, proposer.ts).
import { type Message, type Value, type VoteChoice, batchKeyOf, NULL_OUTCOME, UNSURE } from "./message.ts";
import type { BatchId, BatchKey } from "./message.ts";
import type { BatchPool } from "./batch-pool.ts";
import type { LogState } from "./log-state.ts";
import type { PeerView } from "./peer-view.ts";
import type { Slot } from "./slot.ts";
import type { Parked, SlotTable } from "./slot-table.ts";

/** Everything this node has said about an undecided slot. */
export function recordOf(slot: Slot, writeNumber: number): readonly Message[] {
  const messages: Message[] = [];
  if (slot.ownProposal !== undefined) messages.push({ kind: "proposal", slot: slot.slot, value: slot.ownProposal });
  for (const ballot of slot.ownBallots()) messages.push({ kind: "ballot", ballot, writeNumber });
  return messages;
}

/** What a message about a slot says it should be. */
export function choiceOf(message: Parked["message"]): VoteChoice {
  return message.kind === "proposal" ? message.value : message.ballot.choice;
}

/** The batches a vote names, none for `?` and null. */
export function batchesOf(choice: VoteChoice): Value["batches"] {
  return choice === UNSURE || choice === NULL_OUTCOME ? [] : choice.batches;
}

/** The batches of `choice` that are neither here nor covered by what ran: until they are, it does not count. */
export function missingBatches(choice: VoteChoice, pool: BatchPool, log: LogState): ReadonlyMap<BatchKey, BatchId> {
  const missing = new Map<BatchKey, BatchId>();
  for (const id of batchesOf(choice)) {
    const key = batchKeyOf(id);
    if (pool.get(key) === undefined && !log.covers(id)) missing.set(key, id);
  }
  return missing;
}

/**
 * Whom to ask for its log: a peer that has applied more, unless the next slot here is so fresh that it is surely on its
 * way. A slot that is decided here but whose batches are gone elsewhere is repaired by the same question.
 */
export function findLogSource(
  slots: SlotTable,
  peers: PeerView,
  timing: { readonly nowMs: number; readonly freshMs: number },
): PeerView["others"][number] | undefined {
  const ahead = peers.furthest(timing.nowMs);
  if (ahead === undefined || ahead.applied <= slots.applied) return undefined;
  const next = slots.peek(slots.applied);
  const isFresh = next !== undefined && timing.nowMs - next.times.firstSeenMs < timing.freshMs;
  return isFresh && ahead.applied < slots.windowEnd ? undefined : ahead;
}
