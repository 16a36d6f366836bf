// Owns: the invariants C1 to C10 of consensus, checked at every message, write, decision and application of every node,
// on the union of everything ever sent and everything that reached a disk. It has its own books and its own quorum:
// it shares no code with what it checks but the names of messages.
//
// C1  At most one Proposal, Vote(p), State(p) per node and slot, across restarts; ballots are on disk before they go.
// C2  All votes other than `?` of one slot and phase are equal.
// C3  Vote(0) = v only with a quorum of Proposals v; Vote(p >= 1) = x only with a quorum of States x, and `?` only with
//     a quorum of States that disagree. State(p) = v only where somebody voted or stated v in an earlier phase.
// C4  After a quorum of Votes(p) = x exists, every State(q > p) is x.
// C5  Nobody decides differently, and nobody decides what no quorum has on disk.
// C6  A decided value's batches are on a quorum of disks, but for those that can never run any more: of their origin
//     a later incarnation has run, or it was removed.
// C7  Slots are applied one after the other without gaps; equal slots give equal state hashes.
// C8  Each batch changes the state at most once, and none after one of a later incarnation of its origin.
// C9  An acknowledged command is in the decided prefix of every later quorum.
// C10 Ballots come only from the voters of their slot and only for slots below applied + W; all nodes have the same
//     list of voters for a slot, and every quorum of the slot is one of that list.
import type { NodeId, NodeUid } from "../../../src/base/ids.ts";
import {
  batchKeyOf,
  choiceKeyOf,
  NULL_OUTCOME,
  type Ballot,
  type BatchId,
  type BatchKey,
  type Message,
  type Outcome,
  type Value,
} from "../../../src/consensus/core/message.ts";
import type { ConsensusObserver } from "../../../src/consensus/observer.ts";
import { countBits, SlotBook, UNSURE_KEY } from "./ballot-book.ts";
import type { Violations } from "./violations.ts";
import { VoterLists } from "./voter-lists.ts";

export interface ProtocolCheckerConfig {
  readonly voters: readonly NodeId[];
  readonly windowSlots: number;
}

export interface ProtocolStats {
  slotsDecided: number;
  nullSlots: number;
  noopSlots: number;
  /** Slots decided in a phase above 0 by some node. */
  laterPhaseSlots: number;
  highestPhase: number;
  /** Slots in which a restarted node had sent a Proposal that it forgot while the slot was undecided there. */
  inDoubtSlots: number;
  batchesRun: number;
  batchesAcknowledged: number;
  /** Batches that a slot contained although they had run already. */
  batchesSkipped: number;
}

interface NodeBook {
  readonly node: NodeId;
  /** The process whose messages are seen now; 0 = none yet. */
  life: number;
  /** Slots [0, applied) are applied, at most, in any life. */
  applied: number;
  /** The next slot this life must apply; undefined until it applied its first one. */
  next: number | undefined;
}

/** Every voter there ever was. */
const ANY = -1;

interface AppliedSlot {
  readonly outcome: string;
  readonly ran: string;
  readonly stateHash: number;
}

export class ProtocolChecker implements ConsensusObserver {
  readonly stats: ProtocolStats = {
    slotsDecided: 0,
    nullSlots: 0,
    noopSlots: 0,
    laterPhaseSlots: 0,
    highestPhase: 0,
    inDoubtSlots: 0,
    batchesRun: 0,
    batchesAcknowledged: 0,
    batchesSkipped: 0,
  };
  private readonly violations: Violations;
  private readonly windowSlots: number;
  private readonly voters: VoterLists;
  /** By data directory. */
  private readonly nodes: NodeBook[];
  private readonly slots: SlotBook[] = [];
  /** Slots [0, decidedPrefix) are decided somewhere. */
  private decidedPrefix = 0;
  private readonly laterPhase = new Set<number>();
  private readonly holdersOf = new Map<BatchKey, number>();
  private readonly appliedSlots = new Map<number, AppliedSlot>();
  private readonly slotOfRun = new Map<BatchKey, number>();
  /** The last incarnation of each origin that has run. */
  private readonly newestRun = new Map<NodeUid, number>();
  private readonly removedOrigins = new Set<NodeUid>();
  private readonly acknowledgedIn = new Map<BatchKey, number>();
  /** Acknowledged in the application of a slot that is not complete yet. */
  private unconfirmed: { readonly node: NodeId; readonly slot: number; readonly key: BatchKey }[] = [];

  constructor(config: ProtocolCheckerConfig, violations: Violations) {
    this.violations = violations;
    this.windowSlots = config.windowSlots;
    this.voters = new VoterLists(config.voters);
    this.nodes = config.voters.map((node) => ({ node, life: 0, applied: 0, next: undefined }));
  }

  /** A new process of `node` starts, on the data directory `uid`; without one it is that of before. */
  booted(node: NodeId, life: number, uid?: NodeUid): void {
    const voter = uid === undefined ? this.voterOf(node) : this.voters.opened(node, uid);
    this.nodes[voter] ??= { node, life: 0, applied: 0, next: undefined };
    const book = this.nodes[voter];
    book.life = life;
    book.next = undefined;
    // A process that stopped while it applied a slot confirms nothing more.
    this.unconfirmed = this.unconfirmed.filter((entry) => entry.node !== node);
    const bit = 1 << voter;
    for (const slot of this.slots) {
      const hadProposed = slot.proposedBy[voter] !== undefined;
      if (hadProposed && (slot.decidedBy & bit) === 0) this.stats.inDoubtSlots += 1;
    }
  }

  /** `node` has it that these directories vote from `fromSlot` on, having applied the slots below `applied`. */
  listed(node: NodeId, list: { readonly fromSlot: number; readonly uids: readonly NodeUid[] }, applied: number): void {
    const { fromSlot, uids } = list;
    if (!this.voters.note(fromSlot, uids)) {
      this.violate("C10", `${node} has other voters from slot ${fromSlot} on than another node`);
    }
    if (fromSlot > 0 && fromSlot - this.windowSlots >= applied) {
      this.violate("C10", `${node} has voters for slot ${fromSlot} with only ${applied} slots applied`);
    }
  }

  /** Whether these nodes are a quorum of some list of voters that there was. */
  wereQuorum(nodes: ReadonlySet<NodeId>): boolean {
    return this.voters.wereQuorum(nodes);
  }

  /** A node has applied that this directory is no member any more. */
  removed(uid: NodeUid): void {
    this.removedOrigins.add(uid);
  }

  sent(from: NodeId, to: NodeId, message: Message): void {
    switch (message.kind) {
      case "proposal":
        this.checkProposal(from, message.slot, message.value);
        return;
      case "ballot":
        this.checkSentBallot(from, to, message.ballot);
        return;
      case "decision":
        this.checkToldDecision(from, message.slot, message.outcome);
        return;
      case "log":
        for (const entry of message.entries) this.checkToldDecision(from, entry.slot, entry.outcome);
        return;
      default:
        return;
    }
  }

  durable(node: NodeId, ballots: readonly Ballot[], batches: readonly BatchKey[]): void {
    const voter = this.voterOf(node);
    // Batches first: the votes of the same write may rely on them.
    for (const key of batches) this.holdersOf.set(key, (this.holdersOf.get(key) ?? 0) | (1 << voter));
    for (const ballot of ballots) this.addDurableBallot(voter, ballot);
  }

  decided(node: NodeId, slot: number, outcome: Outcome, phase: number | "told"): void {
    const book = this.slotBook(slot);
    const choice = choiceKeyOf(outcome);
    book.decidedBy |= 1 << this.voterOf(node);
    if (phase !== "told" && phase > 0 && !this.laterPhase.has(slot)) {
      this.laterPhase.add(slot);
      this.stats.laterPhaseSlots += 1;
    }
    this.agree(node, slot, choice);
    if (book.phaseWithDurableQuorum(choice, this.voters.at(slot)) === undefined) {
      this.violate("C5", `${node} decided ${choice} in slot ${slot} without a quorum of durable votes for it`);
    }
    if (outcome !== NULL_OUTCOME) this.checkHolders(node, slot, outcome);
  }

  applied(node: NodeId, slot: number, outcome: Outcome, ran: readonly BatchId[], stateHash: number): void {
    const book = this.nodes[this.voterOf(node)];
    if (book === undefined) return;
    this.checkOrder(book, slot);
    this.agree(node, slot, choiceKeyOf(outcome));
    const before = this.appliedSlots.get(slot);
    const ranKeys = ran.map(batchKeyOf);
    const now: AppliedSlot = { outcome: choiceKeyOf(outcome), ran: ranKeys.join(","), stateHash };
    if (before === undefined) {
      this.appliedSlots.set(slot, now);
      this.countRun(node, slot, outcome, ran);
    } else if (before.ran !== now.ran) {
      this.violate("C7", `${node} ran [${now.ran}] in slot ${slot}, another replica ran [${before.ran}]`);
    } else if (before.stateHash !== stateHash) {
      this.violate("C7", `${node} has state hash ${stateHash} after slot ${slot}, another has ${before.stateHash}`);
    }
    this.confirmAcknowledged(node, slot, ranKeys);
  }

  /** What the disk of a new process holds; more than it had when it got another node's state just before its end. */
  resumed(node: NodeId, applied: number, stateHash: number): void {
    if (applied > (this.nodes[this.voterOf(node)]?.applied ?? 0)) this.installed(node, applied, stateHash);
  }

  installed(node: NodeId, applied: number, stateHash: number): void {
    const book = this.nodes[this.voterOf(node)];
    if (book === undefined) return;
    const last = this.appliedSlots.get(applied - 1);
    if (last === undefined) this.violate("C7", `${node} installed a state through slot ${applied - 1} of nobody`);
    else if (last.stateHash !== stateHash) {
      this.violate("C7", `${node} installed a state with hash ${stateHash}, after that slot it is ${last.stateHash}`);
    }
    book.applied = applied;
    book.next = applied;
  }

  acknowledged(node: NodeId, slot: number, batch: BatchId): void {
    const key = batchKeyOf(batch);
    this.stats.batchesAcknowledged += 1;
    this.acknowledgedIn.set(key, slot);
    this.unconfirmed.push({ node, slot, key });
    const decided = this.slotBook(slot).decided;
    const list = this.voters.at(slot);
    if (decided === undefined || this.slotBook(slot).phaseWithDurableQuorum(decided, list) === undefined) {
      this.violate("C9", `${node} acknowledged ${key} in slot ${slot} before a quorum holds that decision`);
    }
    while (this.slots[this.decidedPrefix]?.decided !== undefined) this.decidedPrefix += 1;
    if (this.decidedPrefix < slot) {
      this.violate("C9", `${node} acknowledged ${key} in slot ${slot} while slot ${this.decidedPrefix} is undecided`);
    }
  }

  /** At the end of a run, after healing: every replica, of `nodes`, has applied the same slots. */
  checkEnd(appliedOf: (node: NodeId) => number, nodes = this.nodes.map(({ node }) => node)): void {
    const ends = nodes.map(appliedOf);
    if (new Set(ends).size > 1) this.violate("C7", `replicas end at different slots: ${ends.join(", ")}`);
    const end = Math.min(...ends);
    for (const [key, slot] of this.acknowledgedIn) {
      const ranIn = this.slotOfRun.get(key);
      if (ranIn === undefined || ranIn >= end) {
        this.violate("C9", `${key}, acknowledged in slot ${slot}, is not in the log of ${end} slots at the end`);
      }
    }
  }

  /** What a node acknowledged while it applied `slot` must be among what it ran there. */
  private confirmAcknowledged(node: NodeId, slot: number, ran: readonly BatchKey[]): void {
    if (this.unconfirmed.length === 0) return;
    const own = this.unconfirmed.filter((entry) => entry.node === node);
    this.unconfirmed = this.unconfirmed.filter((entry) => entry.node !== node);
    for (const { slot: claimed, key } of own) {
      if (claimed === slot && ran.includes(key)) continue;
      this.violate("C9", `${node} acknowledged ${key} in slot ${claimed}, where it had not run`);
    }
  }

  private checkProposal(from: NodeId, slot: number, value: Value): void {
    const voter = this.voterOf(from);
    const book = this.slotBook(slot);
    const life = this.nodes[voter]?.life ?? 0;
    const choice = choiceKeyOf(value);
    const before = book.proposedBy[voter];
    if ((this.voters.at(slot).mask & (1 << voter)) === 0) {
      this.violate("C10", `${from} proposed in slot ${slot} and is no voter of it`);
    }
    if (before === undefined) {
      book.propose(voter, { value: choice, life });
    } else if (before.value !== choice) {
      this.violate("C1", `${from} proposed ${choice} in slot ${slot} after ${before.value}`);
    } else if (before.life !== life) {
      this.violate("C1", `${from} proposed again in slot ${slot} after a restart: the slot was in doubt`);
    }
  }

  private checkSentBallot(from: NodeId, to: NodeId, ballot: Ballot): void {
    const voter = this.voterOf(from);
    const choice = choiceKeyOf(ballot.choice);
    const book = this.slotBook(ballot.slot);
    const phaseBook = ballot.kind === "vote" ? book.votesOf(ballot.phase) : book.statesOf(ballot.phase);
    if (!phaseBook.isDurable(voter, choice)) {
      const doing = to === from ? "counted" : "sent";
      this.violate("C1", `${from} ${doing} ${describe(ballot)} before it was on its disk`);
    }
    if (phaseBook.choice(voter) !== choice) this.addBallot(voter, ballot, choice);
  }

  private addDurableBallot(voter: number, ballot: Ballot): void {
    const choice = choiceKeyOf(ballot.choice);
    const book = this.slotBook(ballot.slot);
    const phaseBook = ballot.kind === "vote" ? book.votesOf(ballot.phase) : book.statesOf(ballot.phase);
    if (phaseBook.choice(voter) !== choice) this.addBallot(voter, ballot, choice);
    phaseBook.addDurable(voter, choice);
    const { mask, quorum } = this.voters.at(ballot.slot);
    if (ballot.kind === "vote" && choice !== UNSURE_KEY && phaseBook.countDurable(choice, mask) >= quorum) {
      this.lock(ballot.slot, ballot.phase, choice);
    }
  }

  /** A choice of this voter that was not known before. */
  private addBallot(voter: number, ballot: Ballot, choice: string): void {
    const { slot, phase } = ballot;
    const book = this.slotBook(slot);
    const node = this.nodes[voter]?.node ?? "?";
    const phaseBook = ballot.kind === "vote" ? book.votesOf(phase) : book.statesOf(phase);
    const before = phaseBook.choice(voter);
    if (before !== undefined) this.violate("C1", `${node} cast ${describe(ballot)} after ${before}`);
    phaseBook.addSeen(voter, choice);
    this.stats.highestPhase = Math.max(this.stats.highestPhase, phase);
    const applied = this.nodes[voter]?.applied ?? 0;
    if ((this.voters.at(slot).mask & (1 << voter)) === 0) {
      this.violate("C10", `${node} cast ${describe(ballot)} and is no voter of that slot`);
    }
    if (slot >= applied + this.windowSlots) {
      this.violate("C10", `${node} cast ${describe(ballot)} with only ${applied} slots applied`);
    }
    if (ballot.kind === "state") {
      this.checkStateKeepsLock(node, ballot, choice);
      this.checkStateHasGround(node, ballot, choice);
      return;
    }
    if (phaseBook.secondFirm !== undefined) {
      const both = `${phaseBook.firm ?? "?"} and ${phaseBook.secondFirm}`;
      this.violate("C2", `slot ${slot} phase ${phase} has votes ${both}`);
    }
    this.checkVoteHasGround(node, ballot, choice);
  }

  private checkVoteHasGround(node: string, ballot: Ballot, choice: string): void {
    const book = this.slotBook(ballot.slot);
    const { mask, quorum } = this.voters.at(ballot.slot);
    if (choice === UNSURE_KEY) {
      const states = book.statesOf(ballot.phase);
      if (ballot.phase === 0 || (states.secondFirm !== undefined && states.countAll() >= quorum)) return;
      this.violate("C3", `${node} cast ${describe(ballot)} without a quorum of States that disagree`);
      return;
    }
    const grounds =
      ballot.phase === 0 ? book.countProposers(choice, mask) : book.statesOf(ballot.phase).countSeen(choice, mask);
    if (grounds >= quorum) return;
    const what = ballot.phase === 0 ? "Proposals" : "States";
    this.violate("C3", `${node} cast ${describe(ballot)} with ${grounds} ${what} for it, not ${quorum}`);
  }

  /** A state other than 0 takes over what somebody voted for, or what the coin kept of an earlier phase. */
  private checkStateHasGround(node: string, ballot: Ballot, choice: string): void {
    if (choice === "0") return;
    const book = this.slotBook(ballot.slot);
    for (let phase = 0; phase < ballot.phase; phase += 1) {
      if (book.votesOf(phase).countSeen(choice, ANY) + book.statesOf(phase).countSeen(choice, ANY) > 0) return;
    }
    this.violate("C3", `${node} cast ${describe(ballot)}, which nobody had voted for or stated before`);
  }

  private checkStateKeepsLock(node: string, ballot: Ballot, choice: string): void {
    const { locked } = this.slotBook(ballot.slot);
    if (locked === undefined || ballot.phase <= locked.phase || choice === locked.choice) return;
    const lock = `${locked.choice} in phase ${locked.phase}`;
    this.violate("C4", `${node} cast ${describe(ballot)} after a quorum voted ${lock}`);
  }

  private lock(slot: number, phase: number, choice: string): void {
    const book = this.slotBook(slot);
    if (book.locked !== undefined && book.locked.phase <= phase && book.locked.choice === choice) return;
    if (book.locked === undefined || phase < book.locked.phase) book.locked = { phase, choice };
    for (let later = phase + 1; later < book.states.length; later += 1) {
      for (const voter of this.nodes.keys()) {
        const state = book.states[later]?.choice(voter);
        if (state !== undefined && state !== choice) {
          const lock = `a quorum voted ${choice} in phase ${phase}`;
          this.violate("C4", `slot ${slot}: a State(${later}) says ${state}, ${lock}`);
        }
      }
    }
  }

  private checkToldDecision(from: NodeId, slot: number, outcome: Outcome): void {
    const { decided } = this.slotBook(slot);
    const choice = choiceKeyOf(outcome);
    if (decided === choice) return;
    this.violate("C5", `${from} tells slot ${slot} as ${choice}, it is ${decided ?? "undecided"}`);
  }

  private agree(node: NodeId, slot: number, choice: string): void {
    const book = this.slotBook(slot);
    if (book.decided === undefined) {
      book.decided = choice;
      this.stats.slotsDecided += 1;
      if (choice === "0") this.stats.nullSlots += 1;
      if (choice === "v") this.stats.noopSlots += 1;
    } else if (book.decided !== choice) {
      this.violate("C5", `${node} decided ${choice} in slot ${slot}, where ${book.decided} was decided`);
    }
  }

  private checkHolders(node: NodeId, slot: number, value: Value): void {
    const { mask, quorum } = this.voters.at(slot);
    for (const batch of value.batches) {
      const holders = countBits((this.holdersOf.get(batchKeyOf(batch)) ?? 0) & mask);
      if (holders >= quorum || this.isOutlived(batch) || this.removedOrigins.has(batch.origin)) continue;
      this.violate("C6", `${node} decided slot ${slot} with ${batchKeyOf(batch)}, which is on ${holders} disks only`);
    }
  }

  /** A later incarnation of the batch's origin has run: all replicas skip the batch, so nobody needs it. */
  private isOutlived(batch: BatchId): boolean {
    return (this.newestRun.get(batch.origin) ?? 0) > batch.incarnation;
  }

  private checkOrder(book: NodeBook, slot: number): void {
    // A restarted node resumes at its checkpoint: anywhere at or below what it had applied before.
    const isInOrder = book.next === undefined ? slot <= book.applied : slot === book.next;
    if (!isInOrder) {
      this.violate("C7", `${book.node} applied slot ${slot} when slot ${book.next ?? book.applied} was next`);
    }
    book.next = slot + 1;
    book.applied = Math.max(book.applied, slot + 1);
  }

  private countRun(node: NodeId, slot: number, outcome: Outcome, ran: readonly BatchId[]): void {
    const contained = outcome === NULL_OUTCOME ? [] : outcome.batches.map(batchKeyOf);
    this.stats.batchesRun += ran.length;
    this.stats.batchesSkipped += contained.length - ran.length;
    for (const batch of ran) {
      const key = batchKeyOf(batch);
      if (this.isOutlived(batch)) {
        this.violate("C8", `${node} ran ${key} in slot ${slot} after a later incarnation of its origin`);
      }
      this.newestRun.set(batch.origin, batch.incarnation);
      const before = this.slotOfRun.get(key);
      if (before !== undefined) {
        this.violate("C8", `${node} ran ${key} in slot ${slot}; it ran in slot ${before} already`);
      }
      if (!contained.includes(key)) this.violate("C8", `${node} ran ${key}, which slot ${slot} does not contain`);
      this.slotOfRun.set(key, slot);
    }
  }

  private slotBook(slot: number): SlotBook {
    let book = this.slots[slot];
    for (let missing = this.slots.length; missing <= slot; missing += 1) {
      book = new SlotBook();
      this.slots.push(book);
    }
    return book ?? new SlotBook();
  }

  private voterOf(node: NodeId): number {
    const voter = this.voters.of(node);
    if (voter === undefined) this.violate("C10", `${node} takes part and is no voter`);
    return voter ?? this.voters.count;
  }

  private violate(check: string, message: string): void {
    this.violations.report(check, `${check}: ${message}`);
  }
}

function describe(ballot: Ballot): string {
  const name = ballot.kind === "vote" ? "Vote" : "State";
  return `${name}(${ballot.phase}) = ${choiceKeyOf(ballot.choice)} in slot ${ballot.slot}`;
}
