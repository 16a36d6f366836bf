// Owns: the difference between what blueprints want and what rows say, as a list of commands of the leader.
// Does not own: transactions, guards, leadership; where one more instance goes (placement.ts).
//
// Pure and forgetful: everything is in the input, so any leader at any time makes the same plan from the same rows.
// A stable state plans nothing. Nothing moves that need not, and nothing that serves ends before its successor serves.
import type { ArtifactId, NodeId } from "../../base/ids.ts";
import { instanceSpecOf, type ResolvedBlueprint, type ResolvedSlice } from "../../slices/core/blueprint.ts";
import type { InstanceFailure, InstanceRow, InstanceRowState } from "../../slices/core/instance-row.ts";
import type { InstanceSpec } from "../../slices/core/instance-spec.ts";
import { nextState } from "../../slices/core/lifecycle.ts";
import { backOffMs } from "./failure-class.ts";
import { Board, compareCosts, costOf, pickNode, type PlanNode } from "./placement.ts";
import { isSameValue } from "./plain-value.ts";

/** One row of `slices/…`. */
export interface PlanInstance {
  readonly node: NodeId;
  readonly artifact: ArtifactId;
  readonly index: number;
  readonly row: InstanceRow;
  /** Guards the command that the plan makes of it. */
  readonly modRevision: number;
  /** How long the leader has seen the row as it is, by its own monotonic clock. */
  readonly unchangedForMs: number;
}

export interface PlanInput {
  /** The current revision of every blueprint that is not deleted. */
  readonly blueprints: readonly ResolvedBlueprint[];
  readonly nodes: readonly PlanNode[];
  readonly instances: readonly PlanInstance[];
}

export interface LoadCommand {
  readonly kind: "load";
  readonly node: NodeId;
  readonly artifact: ArtifactId;
  readonly index: number;
  readonly slice: string;
  readonly blueprint: string;
  readonly revision: number;
  readonly generation: number;
  readonly attempt: number;
  readonly spec: InstanceSpec;
  /** Why the attempt before failed. */
  readonly error?: InstanceFailure;
  /** The row to overwrite; 0: there must be none. */
  readonly modRevision: number;
}

export type PlanCommand =
  | LoadCommand
  | { readonly kind: "activate" | "deactivate" | "unload"; readonly instance: PlanInstance }
  /** Delete the row of a node that is gone. */
  | { readonly kind: "forget"; readonly instance: PlanInstance };

/** Instances that no ready node may have. */
export interface Unplaced {
  readonly blueprint: string;
  readonly slice: string;
  readonly count: number;
}

export interface Plan {
  readonly commands: readonly PlanCommand[];
  readonly unplaced: readonly Unplaced[];
  /** When a back-off ends and planning again gives more; undefined when only a change can. */
  readonly againInMs: number | undefined;
}

interface Wanted {
  readonly blueprint: ResolvedBlueprint;
  readonly slice: string;
  readonly resolved: ResolvedSlice;
}

/** What the leader has to command, in the order in which to do it. */
export function plan(input: PlanInput): Plan {
  const planning = new Planning(input);
  planning.forgetGone();
  for (const wanted of wantedSlices(input.blueprints)) planning.reconcileSlice(wanted);
  planning.retireUnwanted();
  return planning.result();
}

/** The pieces of one plan under way; lives for one call of `plan`. */
class Planning {
  private readonly statusOf: ReadonlyMap<NodeId, PlanNode["status"]>;
  private readonly board: Board;
  private readonly rowsBySlice: Map<string, PlanInstance[]>;
  private readonly forgotten: readonly PlanInstance[];
  private readonly commands: PlanCommand[] = [];
  private readonly unplaced: Unplaced[] = [];
  private againInMs: number | undefined;

  constructor(input: PlanInput) {
    const nodes = [...input.nodes].sort((a, b) => compareText(a.node, b.node));
    const instances = [...input.instances].sort(compareInstances);
    this.statusOf = new Map(nodes.map(({ node, status }) => [node, status]));
    this.board = new Board(nodes);
    this.forgotten = instances.filter(({ node }) => this.statusOf.get(node) === "gone");
    const present = instances.filter(({ node }) => this.statusOf.get(node) !== "gone");
    this.rowsBySlice = groupBySlice(present);
    for (const { node, artifact, index } of present) this.board.add(node, artifact, index);
  }

  forgetGone(): void {
    for (const instance of this.forgotten) this.commands.push({ kind: "forget", instance });
  }

  reconcileSlice(wanted: Wanted): void {
    const rows = this.rowsBySlice.get(wanted.slice) ?? [];
    this.rowsBySlice.delete(wanted.slice);
    const matching = rows.filter((instance) => isCurrent(wanted, instance));
    const outdated = rows.filter((instance) => !isCurrent(wanted, instance));
    // What is being unloaded comes back only as a new row; everything else can still serve.
    const candidates = matching.filter(({ row }) => row.state !== "UNLOAD" && row.state !== "UNLOADING");
    const kept = this.chooseKept(candidates, wanted.resolved.instances);
    for (const instance of candidates) {
      if (kept.has(instance)) this.advance(wanted, instance);
      else this.retire(instance);
    }
    this.placeMissing(wanted, [...kept].map(({ node }) => node));
    this.retireOutdated(wanted, kept, outdated);
  }

  /** Rows of slices that no blueprint has any more. */
  retireUnwanted(): void {
    for (const rows of this.rowsBySlice.values()) for (const instance of rows) this.retire(instance);
  }

  result(): Plan {
    return { commands: this.commands, unplaced: this.unplaced, againInMs: this.againInMs };
  }

  private chooseKept(candidates: readonly PlanInstance[], count: number): Set<PlanInstance> {
    const kept = new Set(candidates);
    while (kept.size > count) {
      const worst = this.worstOf([...kept]);
      if (worst === undefined) break;
      kept.delete(worst);
    }
    return kept;
  }

  /** The one to part with first: the least useful; among equals one of the most crowded node. */
  private worstOf(instances: readonly PlanInstance[]): PlanInstance | undefined {
    const occupied = instances.map(({ node }) => node);
    let worst: { readonly instance: PlanInstance; readonly cost: readonly number[] } | undefined;
    for (const instance of instances) {
      const cost = [this.uselessness(instance), ...costOf(this.board, instance.node, occupied), instance.index];
      if (worst === undefined || compareCosts(cost, worst.cost) >= 0) worst = { instance, cost };
    }
    return worst?.instance;
  }

  private uselessness(instance: PlanInstance): number {
    const isAway = this.isReady(instance.node) ? 0 : 1;
    return 2 * USELESSNESS[instance.row.state] + (instance.row.error?.fatal === true ? 2 : 0) + isAway;
  }

  private isReady(node: NodeId): boolean {
    return this.statusOf.get(node) === "ready";
  }

  /** Takes one kept instance a step further towards ACTIVE, if the step is the leader's. */
  private advance(wanted: Wanted, instance: PlanInstance): void {
    if (!this.isReady(instance.node)) return;
    if (instance.row.state === "LOADED") this.commands.push({ kind: "activate", instance });
    if (instance.row.state === "FAILED") this.loadAgain(wanted, instance);
  }

  private loadAgain(wanted: Wanted, instance: PlanInstance): void {
    const { row } = instance;
    // A new revision is somebody's word that it may work now, even where nothing visible changed.
    const isRevised = row.revision < wanted.blueprint.revision;
    if (row.error?.fatal === true && !isRevised) return;
    const waitMs = isRevised ? 0 : backOffMs(row.attempt) - instance.unchangedForMs;
    if (waitMs > 0) {
      this.againInMs = Math.min(this.againInMs ?? waitMs, waitMs);
      return;
    }
    this.commands.push({
      ...this.loadCommand(wanted, instance.node, instance.index),
      generation: row.generation + 1,
      attempt: isRevised ? 1 : row.attempt + 1,
      ...(row.error === undefined ? {} : { error: row.error }),
      modRevision: instance.modRevision,
    });
  }

  private placeMissing(wanted: Wanted, occupied: NodeId[]): void {
    const { blueprint, slice, resolved } = wanted;
    for (let count = resolved.instances - occupied.length; count > 0; count--) {
      const node = pickNode(this.board, resolved.labels, occupied);
      if (node === undefined) {
        this.unplaced.push({ blueprint: blueprint.name, slice, count });
        return;
      }
      const index = this.board.freeIndex(resolved.artifact);
      this.board.add(node, resolved.artifact, index);
      occupied.push(node);
      this.commands.push(this.loadCommand(wanted, node, index));
    }
  }

  private loadCommand(wanted: Wanted, node: NodeId, index: number): LoadCommand {
    const { blueprint, slice, resolved } = wanted;
    const spec = instanceSpecOf(blueprint, slice, index);
    return {
      kind: "load",
      node,
      artifact: resolved.artifact,
      index,
      slice,
      blueprint: blueprint.name,
      revision: blueprint.revision,
      generation: 1,
      attempt: 1,
      spec,
      modRevision: 0,
    };
  }

  /** Instances of another artifact or config end one by one, each when the wanted number serves without it. */
  private retireOutdated(wanted: Wanted, kept: ReadonlySet<PlanInstance>, outdated: readonly PlanInstance[]): void {
    const serving = outdated.filter(({ row }) => row.state === "ACTIVE");
    for (const instance of outdated) if (instance.row.state !== "ACTIVE") this.retire(instance);
    const successors = [...kept].filter(({ node, row }) => row.state === "ACTIVE" && this.isReady(node)).length;
    let remaining = [...serving];
    while (remaining.length > 0 && remaining.length + successors > wanted.resolved.instances) {
      const worst = this.worstOf(remaining);
      if (worst === undefined) return;
      this.retire(worst);
      remaining = remaining.filter((instance) => instance !== worst);
    }
  }

  /** The next step out, if it is the leader's; in the states left out the node is at work already. */
  private retire(instance: PlanInstance): void {
    const { state } = instance.row;
    if (state === "DEACTIVATING" || state === "UNLOADING") return;
    if (nextState(state, "deactivate") !== "refuse") this.commands.push({ kind: "deactivate", instance });
    else if (nextState(state, "unload") !== "refuse") this.commands.push({ kind: "unload", instance });
  }
}

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

/** Whether the instance runs what the blueprint wants now, whatever revision it was made from. */
function isCurrent(wanted: Wanted, instance: PlanInstance): boolean {
  if (instance.artifact !== wanted.resolved.artifact) return false;
  return isSameValue(instance.row.spec, instanceSpecOf(wanted.blueprint, wanted.slice, instance.index));
}

function wantedSlices(blueprints: readonly ResolvedBlueprint[]): readonly Wanted[] {
  const wanted = blueprints.flatMap((blueprint) =>
    Object.entries(blueprint.slices).map(([slice, resolved]): Wanted => ({ blueprint, slice, resolved })),
  );
  return wanted.sort((a, b) => compareText(a.slice, b.slice));
}

function groupBySlice(instances: readonly PlanInstance[]): Map<string, PlanInstance[]> {
  const groups = new Map<string, PlanInstance[]>();
  for (const instance of instances) {
    const group = groups.get(instance.row.slice);
    if (group === undefined) groups.set(instance.row.slice, [instance]);
    else group.push(instance);
  }
  return groups;
}

function compareInstances(a: PlanInstance, b: PlanInstance): number {
  return compareText(a.row.slice, b.row.slice) || compareText(a.artifact, b.artifact) ||
    a.index - b.index || compareText(a.node, b.node);
}

// By code unit: no locale may make two leaders plan differently.
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
