// Owns: what checkers may watch of a running group. The simulator checks the invariants C1 to C11 with it, after every
// step, on the union of all disks and everything ever sent; in production nobody listens.
import type { NodeId } from "../base/ids.ts";
import type { Ballot, BatchId, BatchKey, Message, Outcome } from "./core/message.ts";

export interface ConsensusObserver {
  /**
   * A message leaves for one voter (`to`). Own ballots count as sent when the node counts them itself: `to` is the
   * sender.
   */
  sent(from: NodeId, to: NodeId, message: Message): void;
  /** These ballots and batches are fsynced on this node. */
  durable(node: NodeId, ballots: readonly Ballot[], batches: readonly BatchKey[]): void;
  decided(node: NodeId, slot: number, outcome: Outcome, phase: number | "told"): void;
  /** The slot was applied; `ran` are the batches that changed state, in order. */
  applied(node: NodeId, slot: number, outcome: Outcome, ran: readonly BatchId[], stateHash: number): void;
  /** The state of another node was installed: slots [0, applied) are in it. */
  installed(node: NodeId, applied: number, stateHash: number): void;
  /** The commands of an own batch are acknowledged to their callers. */
  acknowledged(node: NodeId, slot: number, batch: BatchId): void;
}

/** What safety must not depend on: tests choose as badly as they can. Never set in production. */
export interface TestChoices {
  coin(slot: number, phase: number, fair: 0 | 1): 0 | 1;
  convener(fair: NodeId): NodeId;
}

/** Faults that tests plant to prove that the checks find them. Never set in production. */
export type PlantedFault =
  | "vote-before-fsync"
  | "repropose-in-doubt"
  | "h-not-persisted"
  | "coin-decides"
  | "quorum-minus-one"
  | "tally-by-message"
  | "acknowledge-early"
  | "dedupe-dropped"
  | "hurried-unsure"
  | "coin-without-value"
  | "count-without-batches"
  | "no-help-after-deciding"
  | "incarnation-not-raised"
  | "quorum-of-connected"
  | "read-index-from-decided"
  | "apply-out-of-order"
  | "snapshot-without-dedupe"
  | "membership-at-once"
  | "removed-voter-votes"
  | "cut-before-checkpoint";

export const PLANTED_FAULTS: readonly PlantedFault[] = [
  "vote-before-fsync",
  "repropose-in-doubt",
  "h-not-persisted",
  "coin-decides",
  "quorum-minus-one",
  "tally-by-message",
  "acknowledge-early",
  "dedupe-dropped",
  "hurried-unsure",
  "coin-without-value",
  "count-without-batches",
  "no-help-after-deciding",
  "incarnation-not-raised",
  "quorum-of-connected",
  "read-index-from-decided",
  "apply-out-of-order",
  "snapshot-without-dedupe",
  "membership-at-once",
  "removed-voter-votes",
  "cut-before-checkpoint",
];
