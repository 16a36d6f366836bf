// Owns: how calls from this node to both versions of a canary went, what other nodes say of theirs, and the sum.
// Does not own: the verdict (core/canary-verdict.ts), the sending (membership-service.ts).
//
// Nothing is stored: counts belong to one state of the row of a rollout and begin anew with the next. A new leader has
// the counts of all nodes a moment later; a node that restarts has lost its own, so a step may last longer, not less.
import type { Digest, NodeId } from "../../base/ids.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { isJudged, type RolloutRow } from "../../slices/core/rollout-row.ts";
import {
  addCall, addTallies, CANARIES_MAX, NO_CALLS, TALLIES_TOLD_MAX, type RolloutTally,
} from "./core/version-tally.ts";

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
  /** By node, then by slice. */
  private readonly heard = new Map<NodeId, Map<string, RolloutTally>>();
  /** Where what is told next begins. */
  private nextTold = 0;

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

  /** What to tell the other nodes now: as much as one message has room for, all of it in turns. */
  tell(): readonly RolloutTally[] {
    const all = [...this.own.values()].map(({ tally }) => tally);
    if (all.length <= TALLIES_TOLD_MAX) return all;
    const from = this.nextTold % all.length;
    this.nextTold = from + TALLIES_TOLD_MAX;
    return [...all, ...all].slice(from, from + TALLIES_TOLD_MAX);
  }

  /** Takes what another node has counted: of each of these slices all of it. Nothing at all: it has none. */
  hear(node: NodeId, tallies: readonly RolloutTally[]): void {
    if (tallies.length === 0) {
      this.heard.delete(node);
      return;
    }
    const known = this.heard.get(node) ?? new Map<string, RolloutTally>();
    this.heard.set(node, known);
    // What is not followed here yet is told again.
    for (const tally of tallies) if (this.own.has(tally.slice)) known.set(tally.slice, tally);
  }

  /** What all nodes have counted while the row was of this revision; undefined for one that is not counted. */
  sumOf(slice: string, rollout: number): Pick<RolloutTally, "target" | "previous"> | undefined {
    const own = this.own.get(slice)?.tally;
    if (own?.rollout !== rollout) return undefined;
    const heard = [...this.heard.values()].flatMap((said) => said.get(slice) ?? []);
    const found = [own, ...heard.filter((tally) => tally.rollout === rollout)];
    return {
      target: found.map(({ target }) => target).reduce(addTallies, NO_CALLS),
      previous: found.map(({ previous }) => previous).reduce(addTallies, NO_CALLS),
    };
  }

  private follow(): void {
    // Those that have calls come first: one that has begun is judged to its end.
    const canaries = this.rollouts.rowsInKeyOrder().filter(({ value: { row } }) => isJudged(row));
    const [begun, waiting] = [canaries.filter(hasCalls), canaries.filter((canary) => !hasCalls(canary))];
    const known = new Map(this.own);
    this.own.clear();
    for (const { value: { slice, row }, modRevision } of [...begun, ...waiting].slice(0, CANARIES_MAX)) {
      const before = known.get(slice);
      const isSame = before?.tally.rollout === modRevision;
      const tally = isSame ? before.tally : { slice, rollout: modRevision, target: NO_CALLS, previous: NO_CALLS };
      this.own.set(slice, { target: row.target.specDigest, previous: row.previous.specDigest, tally });
    }
    for (const said of this.heard.values()) {
      for (const slice of said.keys()) if (!this.own.has(slice)) said.delete(slice);
    }
  }
}

function hasCalls({ value: { row } }: { readonly value: { readonly row: RolloutRow } }): boolean {
  return (row.targetShare ?? 0) > 0;
}
