// Owns: who proposes. The convener is the lowest voter that seems alive, caught up and free of doubt: a hint for
// speed, never an authority for safety or liveness. And how far doubt after restarts reaches, which says who can
// propose at all.
import type { NodeId, NodeUid } from "../../base/ids.ts";
import type { TestChoices } from "../observer.ts";
import type { Admission } from "./admission.ts";
import type { LogState } from "./log-state.ts";
import type { Voter } from "./membership.ts";
import type { Pace } from "./pace.ts";
import type { PeerView } from "./peer-view.ts";
import type { SlotTable } from "./slot-table.ts";

export interface ConvenerView {
  readonly self: NodeId;
  readonly selfUid: NodeUid;
  readonly windowSlots: number;
  /** D of this node: below it this node may have proposed and forgotten it. */
  readonly doubtBelow: number;
  readonly log: LogState;
  readonly slots: SlotTable;
  readonly peers: PeerView;
  readonly admission: Admission;
  readonly pace: Pace;
  readonly choices: TestChoices | undefined;
}

/** Who should propose for slot `next`, as this node sees it. */
export function pickConvener(view: ConvenerView, next: number, nowMs: number): NodeId {
  const { voters } = view.log.membership.rulingAt(next);
  const fair = voters.find((voter) => canConvene(view, voter, next, nowMs))?.node ?? view.self;
  return view.choices?.convener(fair) ?? fair;
}

function canConvene(view: ConvenerView, voter: Voter, next: number, nowMs: number): boolean {
  const { admission, peers, pace } = view;
  if (voter.uid === view.selfUid) return admission.isAdmitted && view.doubtBelow <= next && isCaughtUp(view, nowMs);
  const peer = peers.ofVoter(voter);
  if (peer === undefined || !peers.isAlive(peer, nowMs) || pace.isSkipped(voter.node, nowMs)) return false;
  return peer.doubtBelow <= next && peer.lag <= view.windowSlots && admission.hasMet(voter.node);
}

/** Whether this node is about as far as the others: what it proposes further back is decided already. */
export function isCaughtUp({ peers, slots, windowSlots }: ConvenerView, nowMs: number): boolean {
  return (peers.furthest(nowMs)?.applied ?? 0) - slots.applied <= windowSlots;
}

/** The highest D of all voters: null slots below it come from restarts, not from contention. */
export function highestDoubt({ doubtBelow, log, peers, selfUid, slots }: ConvenerView): number {
  let highest = 0;
  for (const voter of log.membership.rulingAt(slots.applied).voters) {
    const own = voter.uid === selfUid ? doubtBelow : (peers.ofVoter(voter)?.doubtBelow ?? 0);
    highest = Math.max(highest, own);
  }
  return highest;
}

/** Voters alive that may still propose in `slot`. Fewer than a quorum: no value can win there any more. */
export function countCertain({ doubtBelow, log, peers, selfUid }: ConvenerView, slot: number, nowMs: number): number {
  return log.membership.rulingAt(slot).voters.filter((voter) => {
    if (voter.uid === selfUid) return doubtBelow <= slot;
    const peer = peers.ofVoter(voter);
    return peer !== undefined && peers.isAlive(peer, nowMs) && peer.doubtBelow <= slot;
  }).length;
}
