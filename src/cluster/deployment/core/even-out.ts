// Owns: whether moving one instance of a slice makes it stand more evenly, so that a node that came (back) gets its
// share. Does not own: the move (reconcile.ts): one more is loaded first, the one that is too many ends when it serves.
import type { NodeId } from "../../../base/ids.ts";
import { compareCosts, type Spread } from "./placement.ts";

/**
 * Whether one instance more on `target` leaves another node the one to part with one: its zone is more crowded then, or
 * it is itself. Each such move makes the squares of the counts smaller, so moves come to an end.
 */
export function wouldEvenOut(spread: Spread, occupied: Iterable<NodeId>, target: NodeId): boolean {
  spread.add(target);
  const cost = crowdOf(spread, target);
  const isWorth = [...occupied].some((node) => compareCosts(crowdOf(spread, node), cost) > 0);
  spread.remove(target);
  return isWorth;
}

/** Without the total of the node, which other slices change. */
function crowdOf(spread: Spread, node: NodeId): readonly number[] {
  return spread.costOf(node).slice(0, 2);
}
