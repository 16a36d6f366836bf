// Owns: who proposes. The convener is the lowest voter that seems alive, caught up and free of doubt: a hint for
// speed, never
// an authority for safety or liveness. And how far doubt after restarts reaches, which says who can propose at all.
import type { NodeId } from "../../base/ids.ts";
import type { TestChoices } from "../observer.ts";
import type { Admission } from "./admission.ts";
import type { Pace } from "./pace.ts";
import type { PeerView } from "./peer-view.ts";
import type { SlotTable } from "./slot-table.ts";

export interface ConvenerView {
  readonly self: NodeId;
  readonly voters: readonly NodeId[];
  readonly windowSlots: number;
  /** D of this node: below it this node may have proposed and forgotten it. */
  readonly doubtBelow: number;
  readonly slots: SlotTable;
  readonly peers: PeerView;
  readonly admission: Admission;
  readonly pace: Pace;
  readonly choices: TestChoices | undefined;
}

/** Who should propose for slot `next`, as this node sees it. */
export function pickConvener(view: ConvenerView, next: number, nowMs: number): NodeId {
  const fair = view.voters.find((node) => canConvene(view, node, next, nowMs)) ?? view.self;
  return view.choices?.convener(fair) ?? fair;
}

function canConvene(view: ConvenerView, node: NodeId, next: number, nowMs: number): boolean {
  const { admission, peers, pace } = view;
  if (node === view.self) return admission.isAdmitted && view.doubtBelow <= next && isCaughtUp(view, nowMs);
  const peer = peers.get(node);
  if (peer === undefined || !peers.isAlive(peer, nowMs) || pace.isSkipped(node, nowMs)) return false;
  return peer.doubtBelow <= next && peer.lag <= view.windowSlots && admission.hasMet(node);
}

/** Whether this node is about as far as the others: what it proposes further back is decided already. */
export function isCaughtUp({ peers, slots, windowSlots }: ConvenerView, nowMs: number): boolean {
  return (peers.furthest(nowMs)?.applied ?? 0) - slots.applied <= windowSlots;
}

/** The highest D of all voters: null slots below it come from restarts, not from contention. */
export function highestDoubt({ doubtBelow, peers }: ConvenerView): number {
  return peers.others.reduce((highest, peer) => Math.max(highest, peer.doubtBelow), doubtBelow);
}

/** Voters alive that may still propose in `slot`. Fewer than a quorum: no value can win there any more. */
export function countCertain({ doubtBelow, peers }: ConvenerView, slot: number, nowMs: number): number {
  const own = doubtBelow <= slot ? 1 : 0;
  return own + peers.others.filter((peer) => peers.isAlive(peer, nowMs) && peer.doubtBelow <= slot).length;
}
