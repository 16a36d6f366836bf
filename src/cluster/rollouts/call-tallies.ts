// Owns: how calls from this node to both versions of a canary went, what other nodes say of theirs, and the sum.
// Does not own: the verdict (core/canary-verdict.ts), the sending (membership-service.ts).
//
// Nothing is stored: counts belong to one state of the row of a rollout and begin anew with the next. A new leader has
// the counts of all nodes a moment later; a node that restarts has lost its own, so a step may last longer, not less.
import type { Digest, NodeId } from "../../base/ids.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { addCall, addTallies, NO_CALLS, TALLIES_MAX, type RolloutTally } from "./core/version-tally.ts";

/** What is known of one call that was tried. */
export interface TriedCall {
  readonly slice: string;
  /** What the instance was made from. */
  readonly specDigest: Digest | undefined;
  readonly outcome: "ok" | "failed";
  readonly ms: number;
}

export interface CallTally {
  note(call: TriedCall): void;
}

interface Counting {
  readonly target: Digest;
  readonly previous: Digest;
  tally: RolloutTally;
}

export class CallTallies implements CallTally {
  private readonly rollouts: Pick<ClusterViews["rollouts"], "rowsInKeyOrder">;
  private readonly own = new Map<string, Counting>();
  private readonly heard = new Map<NodeId, readonly RolloutTally[]>();

  constructor(rollouts: Pick<ClusterViews["rollouts"], "rowsInKeyOrder" | "subscribe">) {
    this.rollouts = rollouts;
    rollouts.subscribe(() => this.follow());
  }

  note({ slice, specDigest, outcome, ms }: TriedCall): void {
    const counting = this.own.get(slice);
    if (counting === undefined) return;
    const { tally, target, previous } = counting;
    // What does not say what it is was there before, as the choice of endpoints has it.
    const version = specDigest ?? previous;
    if (version === target) counting.tally = { ...tally, target: addCall(tally.target, outcome, ms) };
    else if (version === previous) counting.tally = { ...tally, previous: addCall(tally.previous, outcome, ms) };
  }

  /** What to tell the other nodes. */
  current(): readonly RolloutTally[] {
    return [...this.own.values()].map(({ tally }) => tally);
  }

  /** Takes what another node has counted: all of it, each time. */
  hear(node: NodeId, tallies: readonly RolloutTally[]): void {
    if (tallies.length === 0) this.heard.delete(node);
    else this.heard.set(node, tallies);
  }

  /** What all nodes have counted while the row was of this revision. */
  sumOf(slice: string, rollout: number): Pick<RolloutTally, "target" | "previous"> {
    const found = [this.current(), ...this.heard.values()].flat().filter((tally) =>
      tally.slice === slice && tally.rollout === rollout);
    return {
      target: found.map(({ target }) => target).reduce(addTallies, NO_CALLS),
      previous: found.map(({ previous }) => previous).reduce(addTallies, NO_CALLS),
    };
  }

  private follow(): void {
    const wanted = this.rollouts.rowsInKeyOrder()
      .filter(({ value: { row } }) => row.strategy === "canary" && row.stage === "shifting")
      .slice(0, TALLIES_MAX);
    const known = new Map(this.own);
    this.own.clear();
    for (const { value: { slice, row }, modRevision } of wanted) {
      const before = known.get(slice);
      const isSame = before?.tally.rollout === modRevision;
      const tally = isSame ? before.tally : { slice, rollout: modRevision, target: NO_CALLS, previous: NO_CALLS };
      this.own.set(slice, { target: row.target.specDigest, previous: row.previous.specDigest, tally });
    }
  }
}
