// Owns: a person who changes the members of a simulated cluster: promotes, removes, replaces, and asks again when told
// to. Does not own: when (the plan), the disks of machines (nemesis.ts).
import { present } from "../../../src/base/assert.ts";
import type { NodeId, NodeUid } from "../../../src/base/ids.ts";
import type { ChangeOutcome, MembershipChange } from "../../../src/consensus/group.ts";
import type { World } from "../../../src/testkit/sim/world.ts";

export interface OperatorPorts {
  readonly world: World;
  /** False when no node can be asked now. */
  readonly change: (change: MembershipChange, done: (outcome: ChangeOutcome) => void) => boolean;
  readonly isMember: (node: NodeId) => boolean;
  /** The data directory that the members' list has for the node, as far as a node that runs knows. */
  readonly directoryOf: (node: NodeId) => NodeUid | undefined;
}

export interface OperatorStats {
  changesAsked: number;
  changesDone: number;
}

const AGAIN_MS = 250;
/** Nobody answers when the node that was asked dies. */
const ANSWER_MS_MAX = 3_000;
const TRIES_MAX = 12;

export class Operator {
  readonly stats: OperatorStats = { changesAsked: 0, changesDone: 0 };
  /** Nodes that may have been removed: their processes may stop themselves, and need not be there at the end. */
  readonly removed = new Set<NodeId>();
  /** Of these, those that somebody is removing now. */
  private readonly removing = new Set<NodeId>();
  private readonly ports: OperatorPorts;
  private busy = 0;
  private replacing: NodeId | undefined;

  constructor(ports: OperatorPorts) {
    this.ports = ports;
  }

  get isBusy(): boolean {
    return this.busy > 0;
  }

  /** Its disk is gone, and another node is to take its place. */
  isReplacing(node: NodeId): boolean {
    return this.replacing === node;
  }

  promote(node: NodeId): void {
    if (this.replacing !== undefined) return;
    this.ask({ kind: "promote", node }, TRIES_MAX, () => undefined);
  }

  /** `whenGone` runs once the node is out of the cluster. */
  remove(node: NodeId, whenGone: () => void): void {
    if (this.replacing !== undefined || this.removing.has(node)) return;
    this.removed.add(node);
    this.removing.add(node);
    this.ask({ kind: "remove", node }, TRIES_MAX, (isDone) => {
      this.removing.delete(node);
      if (!isDone) return;
      // Of a lost voter and its successor only one is removed at a time.
      if (this.ports.isMember(node)) this.remove(node, whenGone);
      else whenGone();
    });
  }

  /** Until it is done, whatever happens: without it the cluster has a voter less for ever. */
  replace(node: NodeId): void {
    this.replacing = node;
    const uid = present(this.ports.directoryOf(node), "a voter that is to be replaced is a member");
    this.ask({ kind: "replace", node, uid }, Number.POSITIVE_INFINITY, () => {
      this.replacing = undefined;
    });
  }

  /** The node is a new one of the old name. */
  rejoined(node: NodeId): void {
    // Who is still asked to remove the name may take the new one away as well.
    if (!this.removing.has(node)) this.removed.delete(node);
  }

  private ask(change: MembershipChange, tries: number, whenEnded: (isDone: boolean) => void): void {
    this.busy += 1;
    this.stats.changesAsked += 1;
    this.try(change, tries, (isDone) => {
      this.busy -= 1;
      if (isDone) this.stats.changesDone += 1;
      whenEnded(isDone);
    });
  }

  private try(change: MembershipChange, tries: number, end: (isDone: boolean) => void): void {
    const { world } = this.ports;
    let isAnswered = false;
    const answer = (outcome: ChangeOutcome | "silence"): void => {
      if (isAnswered) return;
      isAnswered = true;
      const kind = outcome === "silence" ? outcome : outcome.kind;
      world.note("operator", "", { kind: "text", text: `${JSON.stringify(change)}: ${JSON.stringify(outcome)}` });
      if (kind === "done" || tries <= 1) end(kind === "done");
      else world.schedule({ delayMs: AGAIN_MS, kind: "operator" }, () => this.try(change, tries - 1, end));
    };
    if (this.ports.change(change, answer)) {
      world.schedule({ delayMs: ANSWER_MS_MAX, kind: "operator" }, () => answer("silence"));
    } else {
      answer("silence");
    }
  }
}
