// Owns: the agreement on ONE slot: what this node received and cast, and the rule that says what to do next.
// Does not own: time, sockets, disk, other slots. Rabia (Pan et al., SOSP 2021) decides a slot with Weak-MVC; this is
// the form whose votes follow the proposals directly, made durable and restartable (docs/adr/0001).
// C1  At most one Proposal, Vote(p) and State(p) per node and slot, across restarts.
// C3  Vote(0) = v only with a quorum of Proposals v; Vote(p >= 1) = x only with a quorum of States x.
// C4  After a quorum of Votes(p) = x exists, every State(q > p) is x.
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { PlantedFault } from "../observer.ts";
import {
  type Ballot,
  type Outcome,
  type Value,
  type VoteChoice,
  choiceKeyOf,
  NULL_OUTCOME,
  UNSURE,
} from "./message.ts";
import { type AddResult, Tally } from "./quorum.ts";

export interface SlotRules {
  readonly voterCount: number;
  /** Index of this node in the voter list; -1 for one that only follows: it counts and decides, but casts nothing. */
  readonly self: number;
  readonly quorum: number;
  readonly coin: (slot: number, phase: number) => 0 | 1;
  readonly planted: PlantedFault | undefined;
}

export type SlotMove =
  | { readonly kind: "wait" }
  | { readonly kind: "cast"; readonly ballot: Ballot }
  | { readonly kind: "decide"; readonly outcome: Outcome; readonly phase: number };

const WAIT: SlotMove = { kind: "wait" };

/** Times of one slot, read and written by the replica's timers. */
export interface SlotTimes {
  firstSeenMs: number;
  /** When this node stops waiting in phase 0. */
  patienceAtMs: number;
  resendAtMs: number;
  resendDelayMs: number;
}

export class Slot {
  readonly slot: number;
  /** After a restart: this node may have proposed here and forgotten it, so it never proposes here again. */
  readonly isInDoubt: boolean;
  readonly times: SlotTimes;
  readonly proposals = new Tally<Value>();
  readonly votes: Tally<VoteChoice>[] = [];
  readonly states: Tally<Outcome>[] = [];
  readonly ownVotes: VoteChoice[] = [];
  /** Index 0 is unused: states begin with phase 1. */
  readonly ownStates: (Outcome | undefined)[] = [undefined];
  ownProposal: Value | undefined;
  /** The value whose batches this slot holds: no other slot is to propose them meanwhile. */
  held: Value | undefined;
  /** The own proposal waits for the own vote, to leave with it. */
  isEchoHeld = false;
  /** Who gathers the votes, while this slot is on the common path; undefined when everybody tells everybody. */
  relay: NodeId | undefined;
  /** This node is the one who gathers them, and tells what they decide. */
  isRelay = false;
  /** Until then the first vote for the own value waits: the others' votes alone may decide. */
  lazyVoteUntilMs = Number.NEGATIVE_INFINITY;
  decision: Outcome | undefined;
  /** The phase whose Vote this node cast last, or will cast next. */
  private phase = 0;
  /** A ballot of this node is not durable yet: the next one waits for it. */
  private isCasting = false;
  /** A value that a counted Vote or State of this slot named. */
  private knownValue: Value | undefined;
  private readonly rules: SlotRules;

  constructor(slot: number, rules: SlotRules, isInDoubt: boolean, times: SlotTimes) {
    this.slot = slot;
    this.rules = rules;
    this.isInDoubt = isInDoubt;
    this.times = times;
  }

  /** Whether this node votes in this slot. */
  get isVoting(): boolean {
    return this.rules.self >= 0;
  }

  get hasVoted(): boolean {
    return this.ownVotes.length > 0;
  }

  get isUnseen(): boolean {
    return this.proposals.size === 0 && this.votes.length === 0 && this.states.length === 0;
  }

  countProposal(voter: number, value: Value): AddResult {
    return this.proposals.add(voter, value, this.tallyMode);
  }

  countBallot(voter: number, ballot: Ballot): AddResult {
    const { phase, choice } = ballot;
    if (choice !== UNSURE && choice !== NULL_OUTCOME) this.knownValue ??= choice;
    if (ballot.kind === "vote") return tallyOf(this.votes, phase).add(voter, ballot.choice, this.tallyMode);
    return tallyOf(this.states, phase).add(voter, ballot.choice, this.tallyMode);
  }

  /** Takes back a ballot of this node from disk, at start. */
  restore(ballot: Ballot): void {
    this.remember(ballot);
    this.phase = Math.max(0, this.ownVotes.length - 1, this.ownStates.length - 1);
    this.countBallot(this.rules.self, ballot);
  }

  /** This node casts `ballot`: from here on no other one of its kind and phase exists (C1). */
  cast(ballot: Ballot): void {
    assert(!this.isCasting, "C1: a ballot is cast while another one is being written");
    this.remember(ballot);
    this.phase = ballot.phase;
    this.isCasting = true;
  }

  /** The ballot cast last is durable: it counts, here as everywhere. */
  ballotDurable(ballot: Ballot): void {
    this.isCasting = false;
    this.countBallot(this.rules.self, ballot);
  }

  /** What the rules demand next of this node, given what it has counted. */
  nextMove(): SlotMove {
    if (this.decision !== undefined) return WAIT;
    const decided = this.findDecision();
    if (decided !== undefined) return decided;
    if (this.isCasting || this.rules.self < 0) return WAIT;
    if (this.phase === 0 && !this.hasVoted) return this.moveFirstVote();
    if (this.ownVotes.length <= this.phase) return this.moveLaterVote();
    return this.moveState();
  }

  /** Whether every vote of phase 0 that came so far is for a value: the slot is on the common path. */
  get isUncontested(): boolean {
    return this.votes.length <= 1 && this.states.length === 0 && this.votes[0]?.has(UNSURE) !== true;
  }

  /** The `?` of phase 0 that patience or doubt allows. Later phases have none: a hurried `?` would break C4. */
  unsureVote(): Ballot | undefined {
    const isOpen = this.decision === undefined && !this.isCasting && this.rules.self >= 0;
    if (!isOpen || this.phase !== 0 || this.hasVoted) return undefined;
    return { kind: "vote", slot: this.slot, phase: 0, choice: UNSURE };
  }

  /** Own durable ballots, for retransmission. */
  ownBallots(): readonly Ballot[] {
    const ballots: Ballot[] = [];
    for (let phase = 0; phase < Math.max(this.ownVotes.length, this.ownStates.length); phase++) {
      const state = this.ownStates[phase];
      if (state !== undefined) ballots.push({ kind: "state", slot: this.slot, phase, choice: state });
      const vote = this.ownVotes[phase];
      if (vote !== undefined) ballots.push({ kind: "vote", slot: this.slot, phase, choice: vote });
    }
    // The one being written has not left yet, and must not before it is durable.
    if (this.isCasting) ballots.pop();
    return ballots;
  }

  private findDecision(): SlotMove | undefined {
    if (this.rules.planted === "acknowledge-early") {
      const proposed = this.proposals.winner(this.rules.quorum);
      if (proposed !== undefined) return { kind: "decide", outcome: proposed, phase: 0 };
    }
    for (let phase = 0; phase < this.votes.length; phase++) {
      const outcome = this.votes[phase]?.winner(this.rules.quorum);
      if (outcome !== undefined) return { kind: "decide", outcome, phase };
    }
    return undefined;
  }

  private moveFirstVote(): SlotMove {
    const value = this.proposals.winner(this.rules.quorum);
    if (value !== undefined) return this.voteMove(value);
    return this.proposals.size >= this.rules.voterCount ? this.voteMove(UNSURE) : WAIT;
  }

  private moveLaterVote(): SlotMove {
    const states = this.states[this.phase];
    if (states === undefined || states.of(this.rules.self) === undefined) return WAIT;
    if (states.size < this.rules.quorum) {
      return this.rules.planted === "hurried-unsure" ? this.voteMove(UNSURE) : WAIT;
    }
    return this.voteMove(states.winner(this.rules.quorum) ?? UNSURE);
  }

  private moveState(): SlotMove {
    const votes = this.votes[this.phase];
    // The own vote always counts among the quorum: without it a node could flip 1 knowing no value.
    if (votes === undefined || votes.of(this.rules.self) === undefined || votes.size < this.rules.quorum) return WAIT;
    const firm = votes.anyFirm();
    if (firm !== undefined) return this.stateMove(firm);
    if (this.phase === 0) return this.stateMove(NULL_OUTCOME);
    const isHeads = this.rules.coin(this.slot, this.phase) === 1;
    const known = this.rules.planted === "coin-without-value" ? this.ownProposal : this.knownValue;
    const tossed = isHeads ? (known ?? NULL_OUTCOME) : NULL_OUTCOME;
    if (this.rules.planted === "coin-decides") return { kind: "decide", outcome: tossed, phase: this.phase };
    return this.stateMove(tossed);
  }

  private voteMove(choice: VoteChoice): SlotMove {
    return { kind: "cast", ballot: { kind: "vote", slot: this.slot, phase: this.phase, choice } };
  }

  private stateMove(choice: Outcome): SlotMove {
    return { kind: "cast", ballot: { kind: "state", slot: this.slot, phase: this.phase + 1, choice } };
  }

  private remember(ballot: Ballot): void {
    if (ballot.kind === "vote") {
      const before = this.ownVotes[ballot.phase];
      assert(
        before === undefined || choiceKeyOf(before) === choiceKeyOf(ballot.choice),
        "C1: second Vote in one phase",
      );
      this.ownVotes[ballot.phase] = ballot.choice;
    } else {
      const before = this.ownStates[ballot.phase];
      assert(
        before === undefined || choiceKeyOf(before) === choiceKeyOf(ballot.choice),
        "C1: second State in one phase",
      );
      this.ownStates[ballot.phase] = ballot.choice;
    }
  }

  private get tallyMode(): "sender" | "message" {
    return this.rules.planted === "tally-by-message" ? "message" : "sender";
  }
}

function tallyOf<C extends VoteChoice>(tallies: Tally<C>[], phase: number): Tally<C> {
  for (let missing = tallies.length; missing <= phase; missing++) tallies.push(new Tally<C>());
  const tally = tallies[phase];
  assert(tally !== undefined, "a tally exists for every phase up to the highest seen");
  return tally;
}
