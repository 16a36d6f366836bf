// Owns: the difference between what blueprints want and what rows say, as a list of commands of the leader.
// Does not own: transactions, guards, leadership; where one more instance goes (placement.ts).
//
// Pure and forgetful: everything is in the input, so any leader at any time makes the same plan from the same rows.
// A stable state plans nothing. Nothing moves that need not, but one instance at a time from a crowded node to one that
// has at least two less. What serves ends only when its successor serves, or, where no node has the memory for both,
// when at least `minAvailable` go on serving without it. Instances of a node that is to be drained leave in the same
// way; with nowhere to go, and others needed, they stay. A new version replaces what serves step by step, within what
// the blueprint's `rollout` allows (rollouts/core/course.ts says where to).
// What cannot be read stays as it is: not to know what is wanted is no reason to end what runs.
import { unreachable } from "../../../base/assert.ts";
import type { NodeId } from "../../../base/ids.ts";
import type { ResolvedBlueprint } from "../../../slices/core/blueprint.ts";
import type { RolloutWait, WaitingRollout } from "../../../slices/core/blueprint-status.ts";
import { isTransitional, nextState } from "../../../slices/core/lifecycle.ts";
import { surgeMax, unavailableMax } from "../../../sdk/rollout.ts";
import { chooseKept } from "./choose-kept.ts";
import { wouldEvenOut } from "./even-out.ts";
import { backOffMs, lostWithNode, mayHaveEndedItsNode } from "./failure-class.ts";
import { chooseLeavers } from "./make-room.ts";
import { Board, pickNode, Spread, type PlanNode } from "./placement.ts";
import type {
  LoadCommand, Plan, PlanCommand, PlanInput, PlanInstance, PlanPlace, PlanRollout, RolloutCommand, StallLimits,
  Unplaced,
} from "./plan-types.ts";
import { courseOf, type Course } from "../../rollouts/core/course.ts";
import { wantedNow, type Wanted } from "../../rollouts/core/wanted.ts";

/** What the leader has to command, in the order in which to do it. */
export function plan(input: PlanInput): Plan {
  const planning = new Planning(input);
  planning.forgetGone();
  for (const wanted of wantedSlices(input.blueprints)) planning.reconcileSlice(wanted);
  planning.forgetSuspects();
  planning.retireUnwanted();
  planning.forgetRollouts();
  return planning.result();
}

/** The pieces of one plan under way; lives for one call of `plan`. */
class Planning {
  private readonly statusOf: ReadonlyMap<NodeId, PlanNode["status"]>;
  private readonly board: Board;
  private readonly stallMs: StallLimits;
  private readonly rowsBySlice: Map<string, PlanInstance[]>;
  private readonly unreadable: readonly PlanPlace[];
  private readonly forgotten: readonly PlanPlace[];
  /** Of those, instances that may have ended their nodes, by slice: who takes their place has their attempts. */
  private readonly suspects: ReadonlyMap<string, PlanInstance[]>;
  private readonly frozen: PlanInput["frozen"];
  private readonly revisionOf: PlanInput["revisionOf"];
  private readonly rolloutBySlice: Map<string, PlanRollout>;
  private readonly rollouts: RolloutCommand[] = [];
  private readonly commands: PlanCommand[] = [];
  private readonly unplaced: Unplaced[] = [];
  private readonly waiting: WaitingRollout[] = [];
  private readonly stalled: readonly PlanInstance[];
  /** Slices of which an instance serves. */
  private readonly serving: ReadonlySet<string>;
  private againInMs: number | undefined;
  /** Suspects whose place is taken in this plan, or later: once they have waited long enough, or there is a node. */
  private readonly keptSuspects = new Set<PlanInstance>();

  constructor(input: PlanInput) {
    const nodes = [...input.nodes].sort((a, b) => compareText(a.node, b.node));
    this.statusOf = new Map(nodes.map(({ node, status }) => [node, status]));
    this.board = new Board(nodes);
    this.stallMs = input.stallMs;
    this.frozen = input.frozen;
    this.revisionOf = input.revisionOf;
    this.rolloutBySlice = new Map(input.rollouts.map((rollout) => [nameOf(rollout.blueprint, rollout.slice), rollout]));
    const instances = [...input.instances].sort(compareInstances);
    const unreadable = [...input.unreadable].sort(comparePlaces);
    const suspects = instances.filter((one) =>
      this.isGone(one) && mayHaveEndedItsNode(one.row, one.unchangedForMs));
    this.suspects = groupBySlice(suspects);
    this.forgotten = [...instances, ...unreadable].filter((place) =>
      this.isGone(place) && !suspects.some((one) => one === place));
    this.unreadable = unreadable.filter((place) => !this.isGone(place));
    const present = instances.filter((place) => !this.isGone(place));
    for (const place of this.unreadable) this.board.add(place.node, place, 0);
    for (const instance of present) this.addToBoard(instance);
    this.rowsBySlice = groupBySlice(present.filter(({ row }) => !input.frozen.has(row.blueprint)));
    this.serving = new Set(present.filter((one) => this.isServing(one)).map(({ row }) => row.slice));
    this.stalled = present.filter((instance) => this.isUp(instance.node) && isLate(instance, this.stallMs));
  }

  forgetGone(): void {
    for (const instance of this.forgotten) this.commands.push({ kind: "forget", instance });
  }

  /** Those whose place nobody takes: the slice is not wanted so any more, or has enough instances. */
  forgetSuspects(): void {
    for (const instance of [...this.suspects.values()].flat()) {
      if (!this.keptSuspects.has(instance)) this.commands.push({ kind: "forget", instance });
    }
  }

  reconcileSlice(wanted: Wanted): void {
    const rows = this.rowsBySlice.get(wanted.slice) ?? [];
    this.rowsBySlice.delete(wanted.slice);
    const { blueprint: { name }, slice } = wanted;
    const rollout = this.rolloutBySlice.get(nameOf(name, slice));
    this.rolloutBySlice.delete(nameOf(name, slice));
    const { revisionOf } = this;
    const isServing = (instance: PlanInstance): boolean => this.isServing(instance);
    const course = courseOf({ wanted, rows, rollout, isServing, revisionOf });
    this.follow(course, rows, { blueprint: name, slice, modRevision: rollout?.modRevision ?? 0 });
  }

  private follow(course: Course, rows: readonly PlanInstance[], rollout: Omit<RolloutCommand, "row">): void {
    const { blueprint, slice } = rollout;
    switch (course.kind) {
      case "write":
        this.rollouts.push({ ...rollout, row: course.row });
        this.waiting.push({ blueprint, slice, wait: LEADER_WAIT });
        return;
      case "replace":
        this.replace(course.wanted, rows, limitsOf(course, rows));
        return;
      case "beside": {
        const { target, previous, wait, againInMs = Number.POSITIVE_INFINITY } = course;
        this.waiting.push({ blueprint, slice, wait });
        const [coming, others] = split(rows, (instance) => isCurrent(target, instance));
        const room = roomOf(previous, rows);
        const before = this.commands.length;
        this.replace(target, coming, { isReplacing: false, room });
        const made = this.commands.slice(before).filter((one) => one.kind === "load" && one.modRevision === 0).length;
        this.replace(previous, others, { isReplacing: false, room: room - made });
        this.lookAgainIn(againInMs);
        return;
      }
      default:
        unreachable(course);
    }
  }

  private lookAgainIn(ms: number): void {
    if (Number.isFinite(ms)) this.againInMs = Math.min(this.againInMs ?? ms, ms);
  }

  /** Comes as close to what is wanted as one step can; what is of another version goes as it comes. */
  private replace(wanted: Wanted, rows: readonly PlanInstance[], { isReplacing, room }: ReplaceLimits): void {
    const [matching, outdated] = split(rows, (one) => isCurrent(wanted, one) && !this.isLeaving(one.node));
    // What is being unloaded comes back only as a new row; everything else can still serve.
    const [ending, candidates] = split(matching, ({ row }) => row.state === "UNLOAD" || row.state === "UNLOADING");
    for (const instance of ending) this.retire(instance);
    const kept = this.chooseKept(candidates, wanted.resolved.instances);
    const mover = this.moverOf(kept, candidates);
    for (const instance of candidates) {
      if (kept.has(instance) || instance === mover) this.advance(wanted, instance);
      else this.retire(instance);
    }
    const unplaced = this.placeMissing(wanted, kept, room);
    this.retireOutdated(wanted, { kept, outdated, unplaced, isReplacing });
    if (kept.size === rows.length) this.moveOne(wanted, kept);
  }

  /** Rows of slices that no blueprint has any more. */
  retireUnwanted(): void {
    for (const rows of this.rowsBySlice.values()) for (const instance of rows) this.retire(instance);
  }

  /** Rows about slices that no blueprint has any more. */
  forgetRollouts(): void {
    for (const { blueprint, slice, modRevision } of this.rolloutBySlice.values()) {
      if (!this.frozen.has(blueprint)) this.rollouts.push({ blueprint, slice, row: undefined, modRevision });
    }
  }

  result(): Plan {
    const { rollouts, commands, unplaced, waiting, stalled, againInMs } = this;
    return { rollouts, commands, unplaced, waiting, stalled, againInMs };
  }

  private addToBoard({ node, artifact, index, row, heapBytesMax }: PlanInstance): void {
    this.board.add(node, { artifact, index }, heapBytesMax);
    if (isOnTheWayOut(row.state)) this.board.noteLeaving(node, heapBytesMax);
  }

  private chooseKept(candidates: readonly PlanInstance[], count: number): Set<PlanInstance> {
    return chooseKept(candidates, count, { board: this.board, isReady: (node) => this.isReady(node) });
  }

  private isReady(node: NodeId): boolean {
    return this.statusOf.get(node) === "ready";
  }

  private isLeaving(node: NodeId): boolean {
    return this.statusOf.get(node) === "leaving";
  }

  /** Whether its instances serve, and do what they are told. */
  private isUp(node: NodeId): boolean {
    return this.isReady(node) || this.isLeaving(node);
  }

  private isGone({ node }: PlanPlace): boolean {
    return this.statusOf.get(node) === "gone";
  }

  private isServing({ node, row }: PlanInstance): boolean {
    return row.state === "ACTIVE" && this.isUp(node);
  }

  /** Takes one kept instance a step further towards ACTIVE, if the step is the leader's. */
  private advance(wanted: Wanted, instance: PlanInstance): void {
    if (!this.isReady(instance.node)) return;
    if (instance.row.state === "LOADED") {
      if (this.mayStart(wanted)) this.commands.push({ kind: "activate", instance });
    } else if (instance.row.state === "FAILED") this.loadAgain(wanted, instance);
    else this.endIfStuck(instance);
  }

  /** Whether each slice that this one calls in its start serves. One that is to have no instance is not waited for. */
  private mayStart({ blueprint, resolved }: Wanted): boolean {
    const awaited = resolved.loadAfter ?? [];
    return awaited.every((name) => this.serving.has(name) || (blueprint.slices[name]?.instances ?? 0) === 0);
  }

  private loadAgain(wanted: Wanted, instance: PlanInstance): void {
    const { row } = instance;
    // A new revision is somebody's word that it may work now, even where nothing visible changed.
    const isRevised = row.revision < wanted.revision;
    if (row.error?.fatal === true && !isRevised) return;
    const waitMs = isRevised ? 0 : backOffMs(row.attempt) - instance.unchangedForMs;
    if (waitMs > 0) {
      this.lookAgainIn(waitMs);
      return;
    }
    this.commands.push({
      ...loadCommand(wanted, instance.node, instance.index),
      generation: row.generation + 1,
      attempt: isRevised ? 1 : row.attempt + 1,
      ...(row.error === undefined ? {} : { error: row.error }),
      modRevision: instance.modRevision,
    });
  }

  /** Loads at most as many as there is room for beside what is there. Returns what has no place. */
  private placeMissing(wanted: Wanted, kept: ReadonlySet<PlanInstance>, room: number): Unplaced | undefined {
    const { blueprint, slice, resolved } = wanted;
    const unreadable = this.unreadable.filter(({ artifact }) => artifact === resolved.artifact);
    const occupied = [...kept, ...unreadable].map(({ node }) => node);
    const spread = new Spread(this.board, occupied);
    const missing = resolved.instances - occupied.length;
    const suspects = this.suspectsOf(wanted);
    const waiting = suspects.filter((one) => this.isWaiting(one)).slice(0, Math.max(0, missing));
    for (const one of waiting) this.keptSuspects.add(one);
    for (let count = missing - waiting.length; count > Math.max(0, missing - room); count--) {
      const instead = suspects.find((one) => !this.keptSuspects.has(one));
      const picked = pickNode(this.board, resolved, spread);
      if (picked.kind === "none") {
        if (instead !== undefined) this.keptSuspects.add(instead);
        const unplaced = { blueprint: blueprint.name, slice, count, reason: picked.reason };
        this.unplaced.push(unplaced);
        return unplaced;
      }
      const index = this.board.freeIndex(resolved.artifact);
      this.board.add(picked.node, { artifact: resolved.artifact, index }, resolved.heapBytesMax);
      spread.add(picked.node);
      this.commands.push({ ...loadCommand(wanted, picked.node, index), ...this.inherit(instead) });
    }
    return undefined;
  }

  private suspectsOf({ slice, specDigest }: Wanted): readonly PlanInstance[] {
    return (this.suspects.get(slice) ?? []).filter(({ row }) => row.specDigest === specDigest);
  }

  /** Elsewhere, too, it waits longer after each attempt: it may end the next node as well. */
  private isWaiting({ row, unchangedForMs }: PlanInstance): boolean {
    const waitMs = backOffMs(row.attempt) - unchangedForMs;
    if (waitMs > 0) this.lookAgainIn(waitMs);
    return waitMs > 0;
  }

  private inherit(instead: PlanInstance | undefined): Partial<LoadCommand> {
    if (instead === undefined) return {};
    this.keptSuspects.add(instead);
    const { node, row: { state, attempt } } = instead;
    return { instead, attempt: attempt + 1, error: lostWithNode({ node, state }) };
  }

  /**
   * Instances of another version, and those on nodes that are to be drained, end one by one, each when enough serve
   * without it: all that are wanted, or, of another version, as many as its rollout leaves.
   */
  private retireOutdated(wanted: Wanted, { kept, outdated, unplaced, isReplacing }: Replacement): void {
    const [active, idle] = split(outdated, ({ row }) => row.state === "ACTIVE");
    for (const instance of idle) this.retire(instance);
    const { resolved } = wanted;
    const successors = [...kept].filter((instance) => this.isServing(instance)).length;
    const missing = isReplacing ? unavailableMax(resolved.rollout, resolved.instances) : 0;
    const floor = Math.max(resolved.instances - missing, resolved.minAvailable);
    const staying = this.chooseKept(active, Math.max(0, Math.min(floor, resolved.instances) - successors));
    for (const instance of active) if (!staying.has(instance)) this.retire(instance);
    // With no node on duty at all nothing is gained by serving less.
    if (unplaced === undefined || unplaced.reason === "no-node") return;
    const serving = [...staying].filter((instance) => this.isServing(instance));
    const spare = Math.max(0, serving.length + successors - resolved.minAvailable);
    const [leaving, others] = split(serving, ({ node }) => this.isLeaving(node));
    const evicted = leaving.slice(0, Math.min(spare, unplaced.count));
    for (const instance of evicted) this.retire(instance);
    if (unplaced.reason !== "capacity") return;
    const count = unplaced.count - evicted.length;
    const leavers = chooseLeavers(this.board, others, { needs: resolved, count, spare: spare - evicted.length });
    for (const instance of leavers) this.command("deactivate", instance);
  }

  /**
   * The one instance that is too many because it is on its way to where it makes the slice stand more evenly. One that
   * failed there stays too, and waits: without its row the same move would begin anew at once.
   */
  private moverOf(kept: ReadonlySet<PlanInstance>, candidates: readonly PlanInstance[]): PlanInstance | undefined {
    const [mover, ...others] = candidates.filter((instance) => !kept.has(instance));
    if (mover === undefined || others.length > 0 || !IS_COMING[mover.row.state]) return undefined;
    const occupied = this.servingNodes(kept);
    if (occupied === undefined || !this.isReady(mover.node)) return undefined;
    return wouldEvenOut(new Spread(this.board, occupied), occupied, mover.node) ? mover : undefined;
  }

  /** While all of a slice serves as it should: loads one more where that evens out how it stands. */
  private moveOne(wanted: Wanted, kept: ReadonlySet<PlanInstance>): void {
    const { resolved } = wanted;
    const occupied = this.servingNodes(kept);
    const isWhole = kept.size === resolved.instances && kept.size > 1 && occupied !== undefined;
    if (!isWhole || this.unreadable.some(({ artifact }) => artifact === resolved.artifact)) return;
    const spread = new Spread(this.board, occupied);
    const accepts = (node: NodeId): boolean => wouldEvenOut(spread, occupied, node);
    const picked = pickNode(this.board, { ...resolved, accepts }, spread);
    if (picked.kind === "none") return;
    const index = this.board.freeIndex(resolved.artifact);
    this.board.add(picked.node, { artifact: resolved.artifact, index }, resolved.heapBytesMax);
    this.commands.push(loadCommand(wanted, picked.node, index));
  }

  /** Where the instances stand; undefined unless all of them serve. */
  private servingNodes(instances: ReadonlySet<PlanInstance>): readonly NodeId[] | undefined {
    const all = [...instances];
    return all.every((instance) => this.isServing(instance)) ? all.map(({ node }) => node) : undefined;
  }

  /** The next step out, if it is the leader's; in the states left out the node is at work already. */
  private retire(instance: PlanInstance): void {
    const { state } = instance.row;
    if (state === "DEACTIVATING" || state === "UNLOADING") {
      this.endIfStuck(instance);
      return;
    }
    if (!isOnTheWayOut(state)) this.board.noteLeaving(instance.node, instance.heapBytesMax);
    if (nextState(state, "deactivate") !== "refuse") this.command("deactivate", instance);
    else if (nextState(state, "unload") !== "refuse") this.command("unload", instance);
  }

  /** A node ends its work at its limit by itself; one that does not, and is on duty, gets the way out. */
  private endIfStuck(instance: PlanInstance): void {
    if (isTransitional(instance.row.state) && this.stalled.includes(instance)) this.command("unload", instance);
  }

  private command(kind: "deactivate" | "unload", instance: PlanInstance): void {
    this.commands.push({ kind, instance });
  }
}

/** Of what only has to be written: whoever does not lead can do no more than see it. */
const LEADER_WAIT: RolloutWait = {
  what: "leader",
  message: "the next look of the leader; one that has just begun counts the time of a step anew",
  isLate: false,
};

/** States of an instance that does not serve yet, and is to. */
const IS_COMING = {
  LOAD: true,
  LOADING: true,
  LOADED: true,
  ACTIVATE: true,
  ACTIVATING: true,
  FAILED: true,
  ACTIVE: false,
  DEACTIVATE: false,
  DEACTIVATING: false,
  UNLOAD: false,
  UNLOADING: false,
} as const satisfies Record<PlanInstance["row"]["state"], boolean>;

/** What stands of a slice while its instances are replaced. */
interface Replacement {
  readonly kept: ReadonlySet<PlanInstance>;
  readonly outdated: readonly PlanInstance[];
  /** Successors that no node may have, and why. */
  readonly unplaced: Unplaced | undefined;
  /** Whether one version takes the place of another, not only one instance that of another of its kind. */
  readonly isReplacing: boolean;
}

interface ReplaceLimits {
  readonly isReplacing: boolean;
  /** How many instances there may be more. */
  readonly room: number;
}

function limitsOf(
  { wanted, isUnderWay }: Extract<Course, { kind: "replace" }>,
  rows: readonly PlanInstance[],
): ReplaceLimits {
  const isReplacing = isUnderWay || rows.some((one) => one.row.state === "ACTIVE" && !isCurrent(wanted, one));
  return { isReplacing, room: isReplacing ? roomOf(wanted, rows) : Number.POSITIVE_INFINITY };
}

function roomOf({ resolved: { instances, rollout } }: Wanted, rows: readonly PlanInstance[]): number {
  return instances + surgeMax(rollout, instances) - rows.length;
}

/** Two names as one: neither of them has a slash. */
function nameOf(blueprint: string, slice: string): string {
  return `${blueprint}/${slice}`;
}

function loadCommand(wanted: Wanted, node: NodeId, index: number): LoadCommand {
  const { blueprint, slice, resolved, specDigest, revision, rolloutRevision } = wanted;
  return {
    kind: "load",
    node,
    artifact: resolved.artifact,
    index,
    slice,
    blueprint: blueprint.name,
    revision,
    specDigest,
    generation: 1,
    attempt: 1,
    modRevision: 0,
    rolloutRevision,
  };
}

/** Whether the instance runs what is wanted now, whatever revision it was made from. */
function isCurrent(wanted: Wanted, { artifact, row }: PlanInstance): boolean {
  return artifact === wanted.resolved.artifact && row.specDigest === wanted.specDigest;
}

/** Whether the node of an instance owes a step for longer than it should. */
function isLate({ row, unchangedForMs }: PlanInstance, stallMs: StallLimits): boolean {
  switch (row.state) {
    case "LOADING":
    case "ACTIVATING":
    case "DEACTIVATING":
    case "UNLOADING":
      return unchangedForMs > stallMs[row.state];
    case "LOAD":
    case "ACTIVATE":
    case "DEACTIVATE":
    case "UNLOAD":
      return unchangedForMs > stallMs.begin;
    case "LOADED":
    case "ACTIVE":
    case "FAILED":
      return false;
    default:
      return unreachable(row.state);
  }
}

function isOnTheWayOut(state: PlanInstance["row"]["state"]): boolean {
  return state === "DEACTIVATE" || state === "DEACTIVATING" || state === "UNLOAD" || state === "UNLOADING";
}

function wantedSlices(blueprints: readonly ResolvedBlueprint[]): readonly Wanted[] {
  const wanted = blueprints.flatMap((blueprint) =>
    Object.entries(blueprint.slices).map(([slice, resolved]) => wantedNow(blueprint, slice, resolved)),
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

function split<T>(all: readonly T[], belongs: (one: T) => boolean): readonly [readonly T[], readonly T[]] {
  return [all.filter(belongs), all.filter((one) => !belongs(one))];
}

function compareInstances(a: PlanInstance, b: PlanInstance): number {
  return compareText(a.row.slice, b.row.slice) || comparePlaces(a, b);
}

function comparePlaces(a: PlanPlace, b: PlanPlace): number {
  return compareText(a.artifact, b.artifact) || a.index - b.index || compareText(a.node, b.node);
}

// By code unit: no locale may make two leaders plan differently.
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
