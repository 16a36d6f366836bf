// Owns: what becomes of slots: messages are counted, ballots cast and made durable, outcomes decided and applied in
// order.
// Does not own: the rules inside one slot (slot.ts), when this node proposes by itself (proposer.ts), lost messages.
// C1  Proposals, Votes and States of one slot leave this node at most once each, across restarts (doubt rule).
// C5  Nobody decides a slot differently.
// C6  Whoever votes for a value has its batches on disk in the same write.
// C7  Slots are applied in order, each once.
// C8  A batch that is decided twice runs once.
// C10 Ballots for slot s are counted and cast only while s < applied + W.
import { assert, unreachable } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { PlantedFault } from "../observer.ts";
import type { Admission } from "./admission.ts";
import type { BatchPool } from "./batch-pool.ts";
import { type ConvenerView, countCertain, highestDoubt, pickConvener } from "./convener.ts";
import type { JournalEntry, RunBatch } from "./effects.ts";
import type { LogState } from "./log-state.ts";
import { LoneWriter } from "./lone-writer.ts";
import type { ChangeVerdict, Voter, VoterList } from "./membership.ts";
import {
  type Ballot,
  type BatchId,
  type BatchKey,
  type Heard,
  type Message,
  type Outcome,
  type Value,
  batchKeyOf,
  choiceKeyOf,
  NULL_OUTCOME,
  UNSURE,
} from "./message.ts";
import type { Pace } from "./pace.ts";
import type { Peer, PeerView } from "./peer-view.ts";
import { echoTargets, isPassedOn, RELAY_VOTERS_MIN } from "./relay.ts";
import { batchesOf, choiceOf, missingBatches, recordOf } from "./repair.ts";
import type { Slot } from "./slot.ts";
import type { Parked, SlotTable } from "./slot-table.ts";
import type { Turn } from "./turn.ts";

/** A slot that needs more phases than this has a broken coin; messages beyond are garbage. */
const PHASE_MAX = 1_000;

const NOTHING_HEARD: Heard = { startId: "", writeNumber: 0 };

export interface AgreementParts {
  readonly turn: Turn;
  readonly slots: SlotTable;
  readonly pool: BatchPool;
  readonly log: LogState;
  readonly admission: Admission;
  readonly pace: Pace;
  readonly view: ConvenerView;
  readonly windowSlots: number;
  /** H as the disk said at start. */
  readonly proposeBelow: number;
  /** Of slots before this one the disk no longer says whether this node voted. */
  readonly logStart: number;
  readonly planted: PlantedFault | undefined;
}

export class Agreement {
  private readonly parts: AgreementParts;
  /** H as fsynced, and as the next write will say. */
  private durableProposeBelow: number;
  private nextProposeBelow: number;
  /** One above the highest slot this node has durably voted in. */
  private votedBelow: number;
  /** Own ballots of an earlier start, of slots that are not in the window yet. */
  private readonly remembered = new Map<number, Ballot[]>();
  private readonly lone: LoneWriter;
  /** The batches of this turn went to everybody: this node proposes them itself. */
  private isLeading = false;

  constructor(parts: AgreementParts) {
    this.parts = parts;
    this.lone = new LoneWriter(parts.view.selfUid);
    this.durableProposeBelow = parts.proposeBelow;
    this.nextProposeBelow = parts.proposeBelow;
    // A state that is not believed is none: the own votes that were cut off the log still count for reads.
    this.votedBelow = Math.max(parts.slots.applied, parts.logStart);
  }

  /** H, for the next durable write. */
  get proposeBelow(): number {
    return this.parts.planted === "h-not-persisted" ? this.parts.windowSlots : this.nextProposeBelow;
  }

  /** One above the highest slot this node has durably voted in or knows to be applied: what read rounds ask for. */
  get voted(): number {
    const { planted, slots } = this.parts;
    return planted === "read-index-from-decided" ? slots.decided : Math.max(this.votedBelow, slots.applied);
  }

  /** Whether H and doubt let this node propose there. */
  mayProposeAt(slot: number): boolean {
    const { admission, log, view } = this.parts;
    const isVoter = log.membership.rulingAt(slot).has(view.selfUid);
    return isVoter && admission.isAdmitted && slot >= view.doubtBelow && slot < this.durableProposeBelow;
  }

  canPropose(slot: Slot): boolean {
    const isOpen = slot.ownProposal === undefined && slot.decision === undefined;
    return isOpen && slot.slot < this.parts.slots.windowEnd && this.mayProposeAt(slot.slot);
  }

  // ── messages in ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** `peer` is who sent it just now, undefined for a message that was parked. */
  onSlotMessage(entry: Parked, peer: Peer | undefined): void {
    const { slots, turn } = this.parts;
    const { message } = entry;
    const slot = message.kind === "proposal" ? message.slot : message.ballot.slot;
    if (message.kind === "ballot" && peer !== undefined) {
      peer.writeNumber = Math.max(peer.writeNumber, message.writeNumber);
    }
    if (slot < slots.applied) return;
    if (slot >= slots.windowEnd) {
      // Too far ahead to count: it only says that this node is behind.
      if (peer !== undefined) peer.applied = Math.max(peer.applied, slot - this.parts.windowSlots + 1);
      return;
    }
    if (message.kind === "ballot" && message.ballot.phase > PHASE_MAX) return;
    const open = slots.open(slot, turn.nowMs);
    const missing = missingBatches(choiceOf(message), this.parts.pool, this.parts.log);
    const isParked = missing.size > 0 && this.parts.planted !== "count-without-batches";
    if (isParked) slots.park(slot, entry, [...missing.keys()]);
    else this.count(open, entry);
  }

  /** A peer knows how the slot was decided. */
  onDecision(slot: number, outcome: Outcome): void {
    const { slots, turn } = this.parts;
    if (slot < slots.applied || slot >= slots.windowEnd) return;
    const open = slots.open(slot, turn.nowMs);
    if (open.decision === undefined) this.decide(open, outcome, "told");
    else assert(choiceKeyOf(open.decision) === choiceKeyOf(outcome), "C5: a slot is decided differently elsewhere");
  }

  /**
   * Votes that went to one voter alone are known to the others by its word: they too would find an older disk. And two
   * processes on copies of one disk, each with another voter: to both of these the start that the other one has met is
   * a later one, and what they have met has to say hello again, and is judged by what it did not write.
   */
  noteHeard({ slot, heard = [] }: Extract<Message, { kind: "decision" }>): void {
    const { admission, log, slots, view } = this.parts;
    if (slot < slots.applied || slot >= slots.windowEnd) return;
    log.membership.rulingAt(slot).voters.forEach((voter, at) => {
      const peer = voter.uid === view.selfUid ? undefined : view.peers.ofVoter(voter);
      const told = heard[at];
      if (peer === undefined || told === undefined) return;
      if (view.peers.isLaterStart(peer, told)) {
        Object.assign(peer, told, { startWrite: told.writeNumber });
        admission.forget(peer.node);
      } else if (peer.startId === told.startId) {
        peer.writeNumber = Math.max(peer.writeNumber, told.writeNumber);
      }
    });
  }

  /** Who was to gather votes is gone: what only it was told, everybody is. */
  relayLost(node: NodeId): void {
    const { admission, slots, turn } = this.parts;
    for (const slot of slots.undecided()) {
      if (slot.relay !== node) continue;
      slot.relay = undefined;
      slot.isEchoHeld = false;
      for (const message of recordOf(slot, admission.self.startWrite)) turn.effects.send("others", message);
    }
  }

  addBatch(id: BatchId, commands: Uint8Array): void {
    const { log, pool, turn } = this.parts;
    if (log.covers(id) || !pool.add(id, commands, turn.nowMs)) return;
    this.lone.noteBatch(id);
    this.recount(batchKeyOf(id));
    this.applyReady();
  }

  /** Adds a batch of this node's own and sends it to whoever needs it now. */
  addOwnBatch(id: BatchId, commands: Uint8Array): void {
    const { slots, turn } = this.parts;
    this.isLeading ||= this.mayLead();
    this.addBatch(id, commands);
    const relay = isPassedOn(commands) && !this.isLeading ? this.relayAt(slots.active) : undefined;
    const isForRelay = relay !== undefined && relay.uid !== this.parts.view.selfUid;
    turn.effects.send(isForRelay ? relay.node : "others", { kind: "batch", id, commands });
  }

  /** Whether this node proposes what it has closed in this turn itself, whoever convenes. Asked once, at its end. */
  takeLead(): boolean {
    const { isLeading } = this;
    this.isLeading = false;
    return isLeading;
  }

  /** With anything under way or on its way, the convener may be about to propose for the same slot. */
  private mayLead(): boolean {
    const { pool, slots } = this.parts;
    const isQuiet = slots.inFlight === 0 && pool.unassignedCount === 0;
    return isQuiet && this.lone.isAlone && this.relayAt(slots.active) !== undefined;
  }

  /** A write that says `proposeBelow` is fsynced. */
  onWritten(proposeBelow: number): void {
    const written = this.parts.planted === "h-not-persisted" ? this.nextProposeBelow : proposeBelow;
    this.durableProposeBelow = Math.max(this.durableProposeBelow, written);
  }

  /**
   * Takes back what the disk says, at start. Ballots beyond the window wait until their slot is in it: only then are
   * its voters known, because this node may have forgotten slots that it had applied.
   */
  restore(ballots: readonly Ballot[]): void {
    const { slots } = this.parts;
    for (const ballot of ballots) {
      const ofSlot = this.remembered.get(ballot.slot) ?? [];
      ofSlot.push(ballot);
      this.remembered.set(ballot.slot, ofSlot);
      if (ballot.kind === "vote") this.votedBelow = Math.max(this.votedBelow, ballot.slot + 1);
    }
    slots.onCreated = (slot) => this.recall(slot);
    for (const slot of this.remembered.keys()) if (slot < slots.windowEnd) slots.open(slot, 0);
  }

  /** The state of another node was installed: slots [0, applied) are in it. */
  install(applied: number): void {
    this.votedBelow = Math.max(this.votedBelow, applied);
    this.raiseProposeBelow(applied);
    for (const slot of [...this.remembered.keys()]) if (slot < applied) this.remembered.delete(slot);
    this.applyReady();
  }

  /** The slot is in the state of another node: what it held and did not run there is unassigned again. */
  letGo(slot: Slot): void {
    const { pool } = this.parts;
    if (slot.held !== undefined) pool.release(slot.held, slot.slot);
    if (slot.decision !== undefined && slot.decision !== NULL_OUTCOME) pool.release(slot.decision, slot.slot);
  }

  private recall(slot: Slot): void {
    const ballots = this.remembered.get(slot.slot);
    if (ballots === undefined) return;
    this.remembered.delete(slot.slot);
    for (const ballot of ballots) {
      slot.restore(ballot);
      if (ballot.choice !== UNSURE && ballot.choice !== NULL_OUTCOME) this.hold(slot, ballot.choice);
    }
  }

  private count(slot: Slot, { voter, message }: Parked): void {
    const index = this.parts.log.membership.rulingAt(slot.slot).indexOf(voter.uid);
    // Only the voters of this very slot count in it.
    if (index < 0) return;
    const isProposal = message.kind === "proposal";
    const result = isProposal ? slot.countProposal(index, message.value) : slot.countBallot(index, message.ballot);
    if (result === "contradicts") {
      this.parts.turn.effects.alarms.push({ kind: "contradiction", from: voter.node, slot: slot.slot });
      return;
    }
    if (isProposal) this.onProposalCounted(slot, voter, message.value);
    this.advance(slot);
  }

  private onProposalCounted(slot: Slot, voter: Voter, value: Value): void {
    const { pace, slots, turn, view } = this.parts;
    const convener = pickConvener(view, slots.active, turn.nowMs);
    if (voter.node === convener) pace.noteConvener(convener, "proposed", turn.nowMs);
    if (slot.ownProposal !== undefined && slot.ownProposal.key !== value.key) this.lone.interrupt();
    if (this.canPropose(slot)) this.echo(slot, value, voter);
  }

  /** Messages that waited for this batch count now, unless they wait for another one too. */
  private recount(key: BatchKey): void {
    for (const entry of this.parts.slots.unpark(key)) this.onSlotMessage(entry, undefined);
  }

  // ── proposals and ballots out ──────────────────────────────────────────────────────────────────────────────────────

  /** The one proposal of this node for the slot; check `canPropose` first. */
  propose(slot: Slot, value: Value): void {
    this.countOwn(slot, value);
    const { self: node, selfUid: uid } = this.parts.view;
    slot.isRelay = this.relayOf(slot.slot, value, { node, uid })?.uid === uid;
    if (slot.isRelay) this.passOn(value);
    slot.lazyVoteUntilMs = this.parts.turn.nowMs + this.parts.pace.usualMs;
    this.sendProposal(slot, value);
    this.advance(slot);
  }

  /** What its origin sent to this node alone. */
  private passOn(value: Value): void {
    const { pool, turn, view } = this.parts;
    for (const id of value.batches) {
      const batch = id.origin === view.selfUid ? undefined : pool.get(batchKeyOf(id));
      if (batch === undefined || !isPassedOn(batch.commands)) continue;
      for (const peer of view.peers.others) {
        if (peer.uid === id.origin) continue;
        turn.effects.send(peer.node, { kind: "batch", id, commands: batch.commands });
      }
    }
  }

  /** Proposes what `voter` did. */
  private echo(slot: Slot, value: Value, voter: Voter): void {
    this.countOwn(slot, value);
    const relay = this.relayOf(slot.slot, value, voter);
    slot.isRelay = relay?.uid === this.parts.view.selfUid;
    if (relay === undefined || slot.isRelay) this.echoToAll(slot, value);
    else this.echoAround(slot, value, relay);
    this.advance(slot);
  }

  /**
   * Where it completes the quorum here, and the followers' votes are a quorum without the convener's, the echo leaves
   * in the frame of the vote: nobody waits for it, and frames are what a slot costs most.
   */
  private echoToAll(slot: Slot, value: Value): void {
    const { log, turn, view } = this.parts;
    const list = log.membership.rulingAt(slot.slot);
    const isComplete = slot.proposals.winner(list.quorum)?.key === value.key && !slot.hasVoted;
    const isNobodyMissing = this.areOthersEnough(list, view.peers, turn.nowMs);
    if (isComplete && isNobodyMissing) slot.isEchoHeld = true;
    else this.sendProposal(slot, value);
  }

  /** To those who complete their quorums with it; to the relay in the frame of the vote. */
  private echoAround(slot: Slot, value: Value, relay: Voter): void {
    const { log, pace, turn, view } = this.parts;
    slot.relay = relay.node;
    slot.isEchoHeld = true;
    for (const node of echoTargets(log.membership.rulingAt(slot.slot), relay, view.selfUid)) {
      turn.effects.send(node, { kind: "proposal", slot: slot.slot, value });
    }
    // All that was held back is said to everybody well before anybody loses patience.
    slot.times.resendAtMs = Math.min(slot.times.resendAtMs, turn.nowMs + pace.votePatienceMs / 2);
  }

  /** Who gathers the votes for what `voter` has proposed: whoever alone waits for it, otherwise the convener. */
  private relayOf(slot: number, value: Value, voter: Voter): Voter | undefined {
    const relay = this.relayAt(slot);
    const isOwn = value.batches.length > 0 && value.batches.every((id) => id.origin === voter.uid);
    return relay !== undefined && isOwn ? voter : relay;
  }

  /** Who gathers the votes of this slot as a rule: the convener, while nobody is missing or in doubt. */
  private relayAt(slot: number): Voter | undefined {
    const { log, slots, turn, view } = this.parts;
    const list = log.membership.rulingAt(slot);
    // A voter in doubt votes by the proposals of others alone: it must hear them all.
    const isNobodyMissing = countCertain(view, slot, turn.nowMs) === list.voters.length;
    if (list.voters.length < RELAY_VOTERS_MIN || !isNobodyMissing) return undefined;
    const convener = pickConvener(view, slots.active, turn.nowMs);
    return list.voters.find(({ node }) => node === convener);
  }

  private countOwn(slot: Slot, value: Value): void {
    assert(slot.ownProposal === undefined, "C1: second Proposal in one slot");
    slot.ownProposal = value;
    this.hold(slot, value);
    slot.countProposal(this.parts.log.membership.rulingAt(slot.slot).indexOf(this.parts.view.selfUid), value);
    // To itself at once: whoever watches the protocol must know of it before the vote that it leads to.
    this.parts.turn.effects.send(this.parts.view.self, { kind: "proposal", slot: slot.slot, value });
  }

  private sendProposal(slot: Slot, value: Value): void {
    this.parts.turn.effects.send("others", { kind: "proposal", slot: slot.slot, value });
  }

  /** Votes `?` in phase 0, which patience and doubt allow, if this node has not voted there. */
  voteUnsure(slot: Slot): void {
    const ballot = slot.unsureVote();
    if (ballot !== undefined) this.cast(slot, ballot);
  }

  /** Does what the slot's rules demand until they demand nothing. */
  advance(slot: Slot): void {
    if (!this.parts.admission.isAdmitted) return;
    for (;;) {
      const move = slot.nextMove();
      switch (move.kind) {
        case "wait":
          return;
        case "decide":
          this.decide(slot, move.outcome, move.phase);
          return;
        case "cast":
          if (this.isVoteLazy(slot, move.ballot)) return;
          this.cast(slot, move.ballot);
          break;
        default:
          unreachable(move);
      }
    }
  }

  /**
   * Who proposed a value need not vote for it while the others, all there, are a quorum and nobody disagrees: their
   * votes decide here and at each of them, and a third of all synced writes is saved. Waiting with a vote is always
   * safe.
   */
  private isVoteLazy(slot: Slot, ballot: Ballot): boolean {
    const { log, turn, view } = this.parts;
    if (turn.nowMs >= slot.lazyVoteUntilMs || ballot.kind !== "vote" || ballot.phase > 0) return false;
    return slot.isUncontested && this.areOthersEnough(log.membership.rulingAt(slot.slot), view.peers, turn.nowMs);
  }

  private areOthersEnough(list: VoterList, peers: PeerView, nowMs: number): boolean {
    const { length } = list.voters;
    return length - 1 >= list.quorum && peers.aliveCount(list, nowMs) === length;
  }

  private cast(slot: Slot, ballot: Ballot): void {
    slot.cast(ballot);
    const { choice } = ballot;
    const { planted, pool, turn } = this.parts;
    const batches = choice === UNSURE || choice === NULL_OUTCOME ? [] : pool.takeUnjournaled(choice);
    this.raiseProposeBelow(slot.slot);
    const entry: JournalEntry = { kind: "ballot", ballot, batches };
    if (planted === "vote-before-fsync") {
      turn.persist(entry);
      this.ballotDurable(slot, ballot, 0);
    } else turn.persist(entry, (writeNumber) => this.ballotDurable(slot, ballot, writeNumber));
  }

  private ballotDurable(slot: Slot, ballot: Ballot, writeNumber: number): void {
    // The state of another node, installed meanwhile, has this slot.
    if (this.parts.slots.peek(slot.slot) !== slot) return;
    if (ballot.kind === "vote") this.votedBelow = Math.max(this.votedBelow, ballot.slot + 1);
    slot.ballotDurable(ballot);
    this.sendBallot(slot, ballot, writeNumber);
    this.advance(slot);
  }

  private sendBallot(slot: Slot, ballot: Ballot, writeNumber: number): void {
    const { effects } = this.parts.turn;
    const { isEchoHeld, ownProposal, relay } = slot;
    slot.isEchoHeld = false;
    if (relay !== undefined && !isCommonVote(ballot)) {
      // Off the common path everybody needs everything, what only the relay was told as well.
      slot.relay = undefined;
      for (const message of recordOf(slot, writeNumber)) effects.send("others", message);
      return;
    }
    const to = relay ?? "others";
    if (isEchoHeld && ownProposal !== undefined) {
      effects.send(to, { kind: "proposal", slot: slot.slot, value: ownProposal });
    }
    effects.send(to, { kind: "ballot", ballot, writeNumber });
    // Who watches the protocol must know of it, and what goes to all is shown to them anyway.
    if (relay !== undefined) effects.send(this.parts.view.self, { kind: "ballot", ballot, writeNumber });
  }

  private raiseProposeBelow(slot: number): void {
    this.nextProposeBelow = Math.max(this.nextProposeBelow, slot + this.parts.windowSlots + 1);
  }

  private hold(slot: Slot, value: Value): void {
    slot.held = value;
    this.parts.pool.assign(value, slot.slot);
  }

  // ── outcomes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private decide(slot: Slot, outcome: Outcome, phase: number | "told"): void {
    assert(slot.decision === undefined, "C5: a slot is decided once");
    slot.decision = outcome;
    this.parts.slots.markDecided(slot);
    this.reassign(slot, outcome);
    this.learnPace(slot, outcome, phase);
    this.parts.turn.effects.decisions.push({ slot: slot.slot, outcome, phase });
    if (slot.isRelay && phase !== "told") {
      const urgency = this.isAwaitedElsewhere(outcome) ? "now" : "soon";
      const decision: Message = { kind: "decision", slot: slot.slot, outcome, heard: this.heardAt(slot.slot) };
      this.parts.turn.effects.send("others", decision, urgency);
    }
    this.applyReady();
  }

  private heardAt(slot: number): readonly Heard[] {
    const { log, view } = this.parts;
    return log.membership.rulingAt(slot).voters.map((voter) => {
      const { startId, writeNumber } = view.peers.ofVoter(voter) ?? NOTHING_HEARD;
      return { startId, writeNumber };
    });
  }

  /** Whether another node has callers that wait for this slot. */
  private isAwaitedElsewhere(outcome: Outcome): boolean {
    return batchesOf(outcome).some(({ origin }) => origin !== this.parts.view.selfUid);
  }

  /** Any outcome returns the batches that it does not contain to the unassigned. */
  private reassign(slot: Slot, outcome: Outcome): void {
    const { held } = slot;
    if (held !== undefined && outcome !== NULL_OUTCOME && held.key === outcome.key) return;
    if (held !== undefined) this.parts.pool.release(held, slot.slot);
    if (outcome !== NULL_OUTCOME) this.parts.pool.assign(outcome, slot.slot);
  }

  private learnPace(slot: Slot, outcome: Outcome, phase: number | "told"): void {
    const { pace, turn, view } = this.parts;
    if (outcome === NULL_OUTCOME) {
      // Null slots below somebody's D come from a restart, not from contention.
      if (slot.slot >= highestDoubt(view)) pace.slotNull(turn.nowMs);
    } else if (isCommonPath(slot, phase) && !slot.isInDoubt) pace.slotDecided(turn.nowMs - slot.times.firstSeenMs);
  }

  private applyReady(): void {
    const { slots } = this.parts;
    for (;;) {
      const slot = slots.peek(slots.applied);
      if (slot?.decision === undefined || !this.apply(slot, slot.decision)) return;
    }
  }

  /** False while a batch of the outcome is missing here. */
  private apply(slot: Slot, outcome: Outcome): boolean {
    const { log, planted, pool, slots, turn } = this.parts;
    if (missingBatches(outcome, pool, log).size > 0) return false;
    const fresh = outcome === NULL_OUTCOME ? [] : pool.takeUnjournaled(outcome);
    const contents = batchesOf(outcome).map((id) => pool.get(batchKeyOf(id))?.commands);
    const batches = this.runBatches(batchesOf(outcome), slot.slot);
    this.raiseProposeBelow(slot.slot);
    const apply = { slot: slot.slot, outcome, batches, contents };
    if (planted === "apply-out-of-order") turn.effects.applies.unshift(apply);
    else turn.effects.applies.push(apply);
    turn.persist({ kind: "decided", slot: slot.slot, outcome, batches: fresh });
    slots.advanceApplied();
    this.lone.noteApplied(outcome);
    // A convener that need not vote moves H only with what it applies: it must not run into its own H.
    if (this.durableProposeBelow < slots.active + this.parts.windowSlots / 2) turn.effects.isPersistUrgent = true;
    for (const id of batchesOf(outcome)) this.recount(batchKeyOf(id));
    return true;
  }

  /** Marks the batches that did not run before, one by one, exactly as a replay of the journal does. */
  private runBatches(ids: readonly BatchId[], slot: number): readonly RunBatch[] {
    const { log, planted, pool } = this.parts;
    const ran: RunBatch[] = [];
    const isDropped = planted === "dedupe-dropped";
    for (const id of ids) {
      const batch = pool.get(batchKeyOf(id));
      if (batch !== undefined && (isDropped || log.mayRun(id))) {
        const { isFirstOfStart, verdict } = log.run(id, batch.commands, slot);
        ran.push({ verdict, ...batch });
        if (isFirstOfStart) pool.removeOlder(id.origin, id.incarnation);
        if (verdict !== undefined) this.noteChange(verdict);
      }
      if (!isDropped) pool.remove(batchKeyOf(id));
    }
    return ran;
  }

  private noteChange(verdict: ChangeVerdict): void {
    if (verdict.kind === "refused") return;
    const { log, pool, turn } = this.parts;
    turn.effects.hasNewMembers = true;
    if (verdict.rulesFrom !== undefined) turn.effects.hasNewList = true;
    pool.removeCovered((id) => log.covers(id));
  }
}

/** A vote as it is when all is well. */
function isCommonVote({ kind, phase, choice }: Ballot): boolean {
  return kind === "vote" && phase === 0 && choice !== UNSURE;
}

/** Whether it was decided in phase 0, also where the relay told so whom this node had sent its vote. */
function isCommonPath(slot: Slot, phase: number | "told"): boolean {
  return phase === 0 || (phase === "told" && slot.relay !== undefined);
}
