// Owns: what one process does, on its way to the checkers: under the name of the data directory it runs on, after the
// voter lists it knows, and with a word to whoever waits for a moment to strike.
import type { NodeId } from "../../src/base/ids.ts";
import type { VoterList } from "../../src/consensus/core/membership.ts";
import {
  type Ballot,
  type BatchId,
  type BatchKey,
  type Message,
  NULL_OUTCOME,
  type Outcome,
  UNSURE,
  type VoteChoice,
} from "../../src/consensus/core/message.ts";
import type { GroupDriver } from "../../src/consensus/group-driver.ts";
import type { ConsensusObserver } from "../../src/consensus/observer.ts";
import type { SimProcess } from "../../src/testkit/sim/sim-process.ts";
import type { ProtocolChecker } from "./checkers/protocol-checker.ts";
import type { CrashMoment } from "./nemesis/faults.ts";

interface MomentHook {
  onMoment(moment: CrashMoment, node: NodeId): void;
}

export class ProcessObserver implements ConsensusObserver {
  private readonly process: SimProcess;
  private readonly protocol: ProtocolChecker;
  private readonly hooks: MomentHook;
  private driver: GroupDriver | undefined;
  /** What the disk held at the start, which is told before anybody knows whose disk it is. */
  private found: (() => void)[] = [];
  private list: VoterList | undefined;

  constructor(process: SimProcess, protocol: ProtocolChecker, hooks: MomentHook) {
    this.process = process;
    this.protocol = protocol;
    this.hooks = hooks;
  }

  /** The disk is read: from now on the process may say something. */
  opened(driver: GroupDriver, stateHash: number): void {
    const { node, life } = this.process;
    this.driver = driver;
    this.protocol.booted(node, life, driver.origin.uid);
    this.protocol.resumed(node, driver.replica.slots.applied, stateHash);
    for (const tell of this.found.splice(0)) tell();
  }

  sent(from: NodeId, to: NodeId, message: Message): void {
    this.noteList();
    this.protocol.sent(from, to, message);
    if (message.kind === "proposal") this.hooks.onMoment("proposed", from);
    if (message.kind === "ballot" && to !== from) this.hooks.onMoment("ballot-sent", from);
  }

  durable(node: NodeId, ballots: readonly Ballot[], batches: readonly BatchKey[]): void {
    if (this.driver === undefined) {
      this.found.push(() => this.durable(node, ballots, batches));
      return;
    }
    this.noteList();
    for (const { choice } of ballots) this.noteRemoved(choice);
    this.protocol.durable(node, ballots, batches);
    if (ballots.length > 0) this.hooks.onMoment("ballot-durable", node);
  }

  decided(node: NodeId, slot: number, outcome: Outcome, phase: number | "told"): void {
    this.noteList();
    this.noteRemoved(outcome);
    this.protocol.decided(node, slot, outcome, phase);
    this.hooks.onMoment("decided", node);
  }

  applied(node: NodeId, slot: number, outcome: Outcome, ran: readonly BatchId[], stateHash: number): void {
    if (this.process.isStopping) return;
    this.protocol.applied(node, slot, outcome, ran, stateHash);
    this.noteList();
    this.hooks.onMoment("applied", node);
  }

  installed(node: NodeId, applied: number, stateHash: number): void {
    this.protocol.installed(node, applied, stateHash);
    this.noteList();
    this.hooks.onMoment("installed", node);
  }

  acknowledged(node: NodeId, slot: number, batch: BatchId): void {
    // The state refuses to answer: callers are told that the outcome is unknown.
    if (this.process.isStopping) return;
    this.protocol.acknowledged(node, slot, batch);
    this.hooks.onMoment("acknowledged", node);
  }

  /** Whose batches this node need not have, because it knows that they will never run. */
  private noteRemoved(choice: VoteChoice): void {
    const membership = this.driver?.replica.log.membership;
    if (choice === NULL_OUTCOME || choice === UNSURE || membership === undefined) return;
    for (const { origin } of choice.batches) if (membership.isRemoved(origin)) this.protocol.removed(origin);
  }

  /** The last list that the process knows tells of every change: one is under way at a time. */
  private noteList(): void {
    const replica = this.driver?.replica;
    if (replica === undefined || !replica.log.membership.isFormed) return;
    const { membership } = replica.log;
    const last = membership.rulingAt(Number.MAX_SAFE_INTEGER);
    if (last === this.list) return;
    this.list = last;
    for (const { fromSlot, voters } of membership.listsFrom(0)) {
      const uids = voters.map(({ uid }) => uid);
      this.protocol.listed(this.process.node, { fromSlot, uids }, replica.slots.applied);
    }
  }
}
