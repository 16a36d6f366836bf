// Owns: which instances of an earlier version end before their successors serve, because no node has the memory for
// both. Does not own: replacing where there is room (reconcile.ts).
import type { PlanInstance } from "./plan-types.ts";
import { hasLabels, type Board, type PlaceNeeds, type PlanNode } from "./placement.ts";

export interface RoomWanted {
  readonly needs: PlaceNeeds;
  /** Successors that no node has the memory for. */
  readonly count: number;
  /** How many instances that serve may end. */
  readonly spare: number;
}

/**
 * Of `serving`, which are on ready nodes, those that make room for successors by leaving. None leaves for nothing:
 * where all that may end on a node do not make the room for one successor, all of them stay.
 */
export function chooseLeavers(board: Board, serving: readonly PlanInstance[], wanted: RoomWanted): PlanInstance[] {
  const leavers: PlanInstance[] = [];
  let { count } = wanted;
  for (const node of board.ready()) {
    if (!hasLabels(node, wanted.needs.labels)) continue;
    const here = serving.filter((instance) => instance.node === node.node);
    while (count > 0) {
      const leaving = leaversOf(board, node, here, { ...wanted, spare: wanted.spare - leavers.length });
      if (leaving === undefined) break;
      for (const { heapBytesMax } of leaving) board.noteLeaving(node.node, heapBytesMax);
      board.reserve(node.node, wanted.needs.heapBytesMax);
      leavers.push(...leaving);
      here.splice(0, leaving.length);
      count--;
    }
  }
  return leavers;
}

/** The first instances of a node that make room for one successor there; undefined when they cannot. */
function leaversOf(
  board: Board,
  { node }: PlanNode,
  here: readonly PlanInstance[],
  { needs, spare }: RoomWanted,
): readonly PlanInstance[] | undefined {
  let roomBytes = board.roomLater(node);
  let leaving = 0;
  while (roomBytes < needs.heapBytesMax && leaving < Math.min(spare, here.length)) {
    roomBytes += here[leaving++]?.heapBytesMax ?? 0;
  }
  return roomBytes >= needs.heapBytesMax ? here.slice(0, leaving) : undefined;
}
