// Owns: which instances of a slice to part with first, when there are more than are wanted.
// Does not own: how many are wanted (reconcile.ts), how crowded a node is (placement.ts).
import type { InstanceRowState } from "../../../slices/core/instance-row.ts";
import type { NodeId } from "../../../base/ids.ts";
import type { PlanInstance } from "./plan-types.ts";
import { compareCosts, Spread, type Board } from "./placement.ts";

/** How little is lost with an instance in this state. */
const USELESSNESS = {
  ACTIVE: 0,
  ACTIVATING: 1,
  ACTIVATE: 2,
  LOADED: 3,
  LOADING: 4,
  LOAD: 5,
  DEACTIVATING: 6,
  DEACTIVATE: 7,
  FAILED: 8,
  UNLOAD: 10,
  UNLOADING: 10,
} as const satisfies Record<InstanceRowState, number>;

export interface KeepPorts {
  readonly board: Board;
  isReady(node: NodeId): boolean;
}

/** One instance and how it compares with the others on its node: the worst one has the highest numbers. */
interface Ranked {
  readonly instance: PlanInstance;
  readonly uselessness: number;
  /** Its index, then its place among all: no two are equal, so every leader parts with the same ones. */
  readonly order: readonly [number, number];
}

/**
 * The `count` instances that are worth most, where they stand: of the least useful ones those on the most crowded nodes
 * go first. Looks at one instance per node for each that goes, not at all of them.
 */
export function chooseKept(
  instances: readonly PlanInstance[],
  count: number,
  { board, isReady }: KeepPorts,
): Set<PlanInstance> {
  const kept = new Set(instances);
  const spread = new Spread(board, instances.map(({ node }) => node));
  const byNode = rankByNode(instances, isReady);
  while (kept.size > count) {
    const worst = worstOf(byNode, spread);
    if (worst === undefined) break;
    byNode.get(worst.node)?.pop();
    kept.delete(worst);
    spread.remove(worst.node);
  }
  return kept;
}

/** The instances of each node, the one to part with last. */
function rankByNode(
  instances: readonly PlanInstance[],
  isReady: (node: NodeId) => boolean,
): ReadonlyMap<NodeId, Ranked[]> {
  const byNode = new Map<NodeId, Ranked[]>();
  for (const [place, instance] of instances.entries()) {
    const ranked: Ranked = {
      instance,
      uselessness: uselessness(instance, isReady(instance.node)),
      order: [instance.index, place],
    };
    const others = byNode.get(instance.node);
    if (others === undefined) byNode.set(instance.node, [ranked]);
    else others.push(ranked);
  }
  for (const ranked of byNode.values()) {
    ranked.sort((a, b) => compareCosts([a.uselessness, ...a.order], [b.uselessness, ...b.order]));
  }
  return byNode;
}

function worstOf(byNode: ReadonlyMap<NodeId, readonly Ranked[]>, spread: Spread): PlanInstance | undefined {
  let worst: { readonly instance: PlanInstance; readonly cost: readonly number[] } | undefined;
  for (const [node, ranked] of byNode) {
    const last = ranked.at(-1);
    if (last === undefined) continue;
    const cost = [last.uselessness, ...spread.costOf(node), ...last.order];
    if (worst === undefined || compareCosts(cost, worst.cost) > 0) worst = { instance: last.instance, cost };
  }
  return worst?.instance;
}

function uselessness({ row }: PlanInstance, isReady: boolean): number {
  return 2 * USELESSNESS[row.state] + (row.error?.fatal === true ? 2 : 0) + (isReady ? 0 : 1);
}
