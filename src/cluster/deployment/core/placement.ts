// Owns: on which node one more instance of a slice goes: spread over zones, then nodes, then total load, within what
// the memory of nodes allows. Does not own: how many instances there are to be, and what happens to those that exist
// (reconcile.ts).
import type { ArtifactId, NodeId } from "../../../base/ids.ts";

export interface PlanNode {
  readonly node: NodeId;
  /**
   * `ready`: on duty and not suspected, so it may get new instances. `leaving`: it is to be drained; what serves there
   * serves until others do. `away`: it keeps what it has and gets nothing.
   */
  readonly status: "ready" | "leaving" | "away" | "gone";
  readonly labels: Labels;
  /** Memory of its machine, in bytes. */
  readonly memoryBytes: number;
}

export type Labels = Readonly<Record<string, string>>;

/** Why an instance has no node: none is on duty, none of those has its labels, none of those has the memory left. */
export type UnplacedReason = "no-node" | "labels" | "capacity";

/** What one more instance of a slice asks of a node. */
export interface PlaceNeeds {
  readonly labels: Labels;
  readonly heapBytesMax: number;
  /** Other nodes are passed over. */
  readonly accepts?: (node: NodeId) => boolean;
}

/** The label by which instances of one slice are spread first, where nodes have it. */
const ZONE_LABEL = "zone";
/** Part of a node's memory that the heaps of its instances may take together; the rest is the node's own. */
export const INSTANCE_MEMORY_PERCENT_MAX = 80;

/** Counts what stands where while a plan is made; mutable, lives for one plan. */
export class Board {
  private readonly nodes: ReadonlyMap<NodeId, PlanNode>;
  private readonly totals = new Map<NodeId, number>();
  private readonly heapBytes = new Map<NodeId, number>();
  /** The part of `heapBytes` that ends soon, less what is meant to follow there. */
  private readonly leavingBytes = new Map<NodeId, number>();
  private readonly indexes = new Map<ArtifactId, Set<number>>();

  constructor(nodes: readonly PlanNode[]) {
    this.nodes = new Map(nodes.map((node) => [node.node, node]));
  }

  /** An instance that exists, or will by this plan. */
  add(node: NodeId, instance: { readonly artifact: ArtifactId; readonly index: number }, heapBytesMax: number): void {
    const { artifact, index } = instance;
    increase(this.totals, node, 1);
    increase(this.heapBytes, node, heapBytesMax);
    const taken = this.indexes.get(artifact);
    if (taken === undefined) this.indexes.set(artifact, new Set([index]));
    else taken.add(index);
  }

  /** An instance there is on its way out: its memory will be free, though it is not yet. */
  noteLeaving(node: NodeId, heapBytesMax: number): void {
    increase(this.leavingBytes, node, heapBytesMax);
  }

  /** What leaves there makes room for one that is to follow. */
  reserve(node: NodeId, heapBytesMax: number): void {
    increase(this.leavingBytes, node, -heapBytesMax);
  }

  total(node: NodeId): number {
    return this.totals.get(node) ?? 0;
  }

  /** Bytes of memory that instances may still take there now. */
  room(node: NodeId): number {
    const memoryBytes = this.nodes.get(node)?.memoryBytes ?? 0;
    return (memoryBytes * INSTANCE_MEMORY_PERCENT_MAX) / 100 - (this.heapBytes.get(node) ?? 0);
  }

  /** The same once everything that is on its way out has gone, and what is meant to follow has come. */
  roomLater(node: NodeId): number {
    return this.room(node) + (this.leavingBytes.get(node) ?? 0);
  }

  /** The smallest index that no instance of the artifact has, on any node: an index means one instance for people. */
  freeIndex(artifact: ArtifactId): number {
    const taken = this.indexes.get(artifact);
    let index = 0;
    while (taken?.has(index) === true) index++;
    return index;
  }

  zoneOf(node: NodeId): string {
    return this.nodes.get(node)?.labels[ZONE_LABEL] ?? "";
  }

  /** Ready nodes, in the order of the plan. */
  ready(): readonly PlanNode[] {
    return [...this.nodes.values()].filter(({ status }) => status === "ready");
  }
}

/** How the instances of one slice are spread; counted once and kept, because plans ask for it once per instance. */
export class Spread {
  private readonly board: Board;
  private readonly zones = new Map<string, number>();
  private readonly nodes = new Map<NodeId, number>();

  constructor(board: Board, occupied: readonly NodeId[]) {
    this.board = board;
    for (const node of occupied) this.add(node);
  }

  add(node: NodeId): void {
    increase(this.zones, this.board.zoneOf(node), 1);
    increase(this.nodes, node, 1);
  }

  remove(node: NodeId): void {
    increase(this.zones, this.board.zoneOf(node), -1);
    increase(this.nodes, node, -1);
  }

  /** How crowded a node is for the slice: lower is better, earlier numbers weigh more. */
  costOf(node: NodeId): readonly number[] {
    return [this.zones.get(this.board.zoneOf(node)) ?? 0, this.nodes.get(node) ?? 0, this.board.total(node)];
  }
}

export type PickedNode =
  | { readonly kind: "node"; readonly node: NodeId }
  | { readonly kind: "none"; readonly reason: UnplacedReason };

/** The node for one more instance of a slice that is spread like this. */
export function pickNode(board: Board, needs: PlaceNeeds, spread: Spread): PickedNode {
  const ready = board.ready();
  const labelled = ready.filter((node) => hasLabels(node, needs.labels));
  const fitting = labelled.filter(({ node }) => board.room(node) >= needs.heapBytesMax);
  let best: { readonly node: NodeId; readonly cost: readonly number[] } | undefined;
  for (const { node } of fitting) {
    if (needs.accepts?.(node) === false) continue;
    const cost = spread.costOf(node);
    // Strictly cheaper only: the order of nodes decides among equals, so that every leader plans alike.
    if (best === undefined || compareCosts(cost, best.cost) < 0) best = { node, cost };
  }
  if (best !== undefined) return { kind: "node", node: best.node };
  return { kind: "none", reason: ready.length === 0 ? "no-node" : labelled.length === 0 ? "labels" : "capacity" };
}

export function hasLabels(node: Pick<PlanNode, "labels">, labels: Labels): boolean {
  return Object.entries(labels).every(([name, value]) => node.labels[name] === value);
}

export function compareCosts(a: readonly number[], b: readonly number[]): number {
  for (const [position, value] of a.entries()) {
    const difference = value - (b[position] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function increase<K>(counts: Map<K, number>, key: K, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
