// Owns: on which node one more instance of a slice goes: spread over zones, then nodes, then total load.
// Does not own: how many instances there are to be, and what happens to those that exist (reconcile.ts).
import type { ArtifactId, NodeId } from "../../base/ids.ts";

export interface PlanNode {
  readonly node: NodeId;
  /** `ready`: on duty and not suspected, so it may get new instances. `away`: it keeps what it has and gets nothing. */
  readonly status: "ready" | "away" | "gone";
  readonly labels: Labels;
}

export type Labels = Readonly<Record<string, string>>;

/** The label by which instances of one slice are spread first, where nodes have it. */
const ZONE_LABEL = "zone";

/** Counts what stands where while a plan is made; mutable, lives for one plan. */
export class Board {
  private readonly nodes: readonly PlanNode[];
  private readonly totals = new Map<NodeId, number>();
  private readonly indexes = new Map<ArtifactId, Set<number>>();

  constructor(nodes: readonly PlanNode[]) {
    this.nodes = nodes;
  }

  /** An instance that exists, or will by this plan. */
  add(node: NodeId, artifact: ArtifactId, index: number): void {
    this.totals.set(node, (this.totals.get(node) ?? 0) + 1);
    const taken = this.indexes.get(artifact);
    if (taken === undefined) this.indexes.set(artifact, new Set([index]));
    else taken.add(index);
  }

  total(node: NodeId): number {
    return this.totals.get(node) ?? 0;
  }

  /** The smallest index that no instance of the artifact has, on any node: an index means one instance for people. */
  freeIndex(artifact: ArtifactId): number {
    const taken = this.indexes.get(artifact);
    let index = 0;
    while (taken?.has(index) === true) index++;
    return index;
  }

  zoneOf(node: NodeId): string {
    return this.nodes.find((candidate) => candidate.node === node)?.labels[ZONE_LABEL] ?? "";
  }

  /** Ready nodes that have all of `labels`, in the order of the plan. */
  eligible(labels: Labels): readonly NodeId[] {
    const fits = (node: PlanNode): boolean =>
      node.status === "ready" && Object.entries(labels).every(([name, value]) => node.labels[name] === value);
    return this.nodes.filter(fits).map(({ node }) => node);
  }
}

/** The node for one more instance of a slice whose instances stand on `occupied`; undefined: no node may have it. */
export function pickNode(board: Board, labels: Labels, occupied: readonly NodeId[]): NodeId | undefined {
  let best: { readonly node: NodeId; readonly cost: readonly number[] } | undefined;
  for (const node of board.eligible(labels)) {
    const cost = costOf(board, node, occupied);
    // Strictly cheaper only: the order of nodes decides among equals, so that every leader plans alike.
    if (best === undefined || compareCosts(cost, best.cost) < 0) best = { node, cost };
  }
  return best?.node;
}

/** How crowded a node is for one slice: lower is better, earlier numbers weigh more. */
export function costOf(board: Board, node: NodeId, occupied: readonly NodeId[]): readonly number[] {
  const zone = board.zoneOf(node);
  const inZone = occupied.filter((other) => board.zoneOf(other) === zone).length;
  const onNode = occupied.filter((other) => other === node).length;
  return [inZone, onNode, board.total(node)];
}

export function compareCosts(a: readonly number[], b: readonly number[]): number {
  for (const [position, value] of a.entries()) {
    const difference = value - (b[position] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
