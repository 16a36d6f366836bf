// Owns: one voter of one consensus group as a pure machine: `step(event, nowMs) -> Effects`. It knows every rule of the
// protocol and calls nobody: no clock, random source, socket, file or promise inside.
// Does not own: the rules inside one slot (slot.ts), who may take part (admission.ts), bytes (message-codec.ts,
// journal).
// C1  Proposals, Votes and States of one slot leave this node at most once each, across restarts (doubt rule).
// C6  Whoever votes for a value has its batches on disk in the same write.
// C7  Slots are applied in order, each once.
// C8  A batch that is decided twice runs once.
// C10 Ballots for slot s are counted and cast only while s < applied + W.
import { assert, unreachable } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import { KiB, MiB } from "../../base/units.ts";
import type { PlantedFault } from "../observer.ts";
import { Admission, type AdmissionState, type SelfIdentity } from "./admission.ts";
import { type Batch, BatchPool } from "./batch-pool.ts";
import { coin } from "./coin.ts";
import { type ConvenerView, countCertain, highestDoubt, pickConvener } from "./convener.ts";
import type { DedupeTable } from "./dedupe-table.ts";
import { Effects, type JournalEntry, type ReplicaEvent } from "./effects.ts";
import {
  type Ballot,
  type BatchId,
  type BatchKey,
  type Message,
  type Outcome,
  type Value,
  type VoteChoice,
  batchKeyOf,
  choiceKeyOf,
  NOOP,
  NULL_OUTCOME,
  UNSURE,
} from "./message.ts";
import { Pace } from "./pace.ts";
import { type Peer, type PeerPromise, PeerView } from "./peer-view.ts";
import { quorumOf } from "./quorum.ts";
import { type ReadRound, ReadRounds } from "./read-rounds.ts";
import { batchesOf, findLogSource, missingBatches, recordOf } from "./repair.ts";
import type { Slot } from "./slot.ts";
import { type Parked, SlotTable } from "./slot-table.ts";

export interface ReplicaConfig {
  readonly voters: readonly NodeId[];
  /** W: how far votes may run ahead of the applied state. Fixed when the cluster forms. */
  readonly windowSlots: number;
  /** P: slots in flight at most. */
  readonly pipelineSlots: number;
  readonly planted: PlantedFault | undefined;
}

/** What this node's disk says at start. */
export interface RecoveredState {
  readonly self: SelfIdentity;
  readonly admission: AdmissionState;
  readonly applied: number;
  readonly dedupe: DedupeTable;
  /** H: no proposal was ever sent for a slot at or above it. */
  readonly proposeBelow: number;
  /** Own ballots of slots that are not applied yet. */
  readonly ballots: readonly Ballot[];
  /** Batches on disk that have not run. */
  readonly batches: readonly { readonly id: BatchId; readonly commands: Uint8Array }[];
  readonly promises: readonly PeerPromise[];
}

const VALUE_IDS_MAX = 256;
const VALUE_BYTES_MAX = 1 * MiB;
const STATUS_MS = 250;
const HELLO_MS = 200;
const RESEND_MS_MAX = 1_000;
/** A batch usually arrives within this time of the proposal that names it; then it is pulled. */
const PULL_AFTER_MS = 5;
/** Doubles with each time it was asked for in vain. */
const PULL_AGAIN_MS = 50;
const PULL_IDS_MAX = 256;
const READ_RESEND_MS = 50;
/** A late answer to a round of an earlier start must not answer one of this start. */
const NONCES_PER_START = 2 ** 20;
const LOG_PULL_MS = 200;
/** A slot that needs more phases than this has a broken coin; messages beyond are garbage. */
const PHASE_MAX = 1_000;
/** How far behind the others a node may be and still call itself caught up. */
const LAG_SLOTS_READY = 64;
/** Own batches that nobody took are sent again after this time: the first sending may have been lost. */
const BATCH_RESEND_MS = 200;
const BATCH_RESEND_BYTES_MAX = 256 * KiB;

/** A write that was asked for; its sequel runs when it is durable. */
interface PendingWrite {
  readonly ticket: number;
  readonly sequel:
    | { readonly kind: "ballot"; readonly slot: Slot; readonly ballot: Ballot }
    | { readonly kind: "voter-list" }
    | { readonly kind: "formed" };
}

export class Replica {
  readonly admission: Admission;
  readonly peers: PeerView;
  readonly slots: SlotTable;
  private readonly config: ReplicaConfig;
  private readonly self: NodeId;
  private readonly selfIndex: number;
  private readonly quorum: number;
  private readonly pool = new BatchPool();
  private readonly dedupe: DedupeTable;
  private readonly pace: Pace;
  private readonly reads: ReadRounds;
  private readonly random: Random;
  private readonly view: ConvenerView;
  /** D: below it this node may have proposed and forgotten it. */
  private readonly doubtBelow: number;
  /** H as fsynced, and as the next write will say. */
  private durableProposeBelow: number;
  private nextProposeBelow: number;
  /** One above the highest slot this node has durably voted in. */
  private voted: number;
  private ticket = 0;
  private readonly pending: PendingWrite[] = [];
  private effects = new Effects();
  private nowMs = 0;
  private statusAtMs = 0;
  private helloAtMs = 0;
  private readResendAtMs = 0;
  private logPullAtMs = 0;
  /** How long a batch may wait now before this node proposes it itself; drawn anew after each time it did. */
  private proposePatienceMs: number;
  private proposedAtMs = 0;
  private batchResendAtMs = 0;

  constructor(config: ReplicaConfig, recovered: RecoveredState, random: Random) {
    const { voters, planted } = config;
    this.config = config;
    this.self = recovered.self.node;
    this.selfIndex = voters.indexOf(this.self);
    assert(this.selfIndex >= 0, "this node is one of the voters");
    this.quorum = quorumOf(voters.length);
    this.random = random;
    this.dedupe = recovered.dedupe;
    this.admission = new Admission(recovered.self, voters, this.quorum, recovered.admission);
    this.peers = new PeerView(voters, this.self, recovered.promises);
    this.pace = new Pace(random.fork("pace"), this.selfIndex);
    this.proposePatienceMs = this.pace.proposePatienceMs();
    this.reads = new ReadRounds(this.quorum, recovered.self.startWrite * NONCES_PER_START);
    this.durableProposeBelow = recovered.proposeBelow;
    this.nextProposeBelow = recovered.proposeBelow;
    // A voter that had not formed a cluster has proposed nothing that it could have forgotten.
    this.doubtBelow = recovered.admission.isFormed && planted !== "repropose-in-doubt" ? recovered.proposeBelow : 0;
    this.slots = new SlotTable({
      applied: recovered.applied,
      windowSlots: config.windowSlots,
      doubtBelow: this.doubtBelow,
      patienceMs: () => this.pace.votePatienceMs,
      rules: {
        voterCount: voters.length,
        self: this.selfIndex,
        quorum: planted === "quorum-minus-one" ? Math.max(1, this.quorum - 1) : this.quorum,
        coin: (slot, phase) => coin(this.admission.secret, slot, phase),
        planted,
      },
    });
    this.voted = recovered.applied;
    this.view = {
      self: this.self,
      voters,
      windowSlots: config.windowSlots,
      doubtBelow: this.doubtBelow,
      peers: this.peers,
      admission: this.admission,
      pace: this.pace,
    };
    this.restore(recovered);
  }

  /** H, for the next durable write. */
  get proposeBelow(): number {
    return this.config.planted === "h-not-persisted" ? this.config.windowSlots : this.nextProposeBelow;
  }

  get hasWork(): boolean {
    return this.slots.inFlight > 0 || this.pool.unassignedCount > 0 || this.reads.openNonce !== undefined;
  }

  get hasOpenRead(): boolean {
    return this.reads.openNonce !== undefined;
  }

  /** What has run, for the mark of a checkpoint. */
  get dedupeTable(): DedupeTable {
    return this.dedupe;
  }

  /** Who should propose next, as this node sees it. */
  convener(): NodeId {
    return pickConvener(this.view, this.slots.active, this.nowMs);
  }

  /** Whether this node sees a majority now, and how many voters it sees. */
  visibility(nowMs: number): { readonly hasQuorum: boolean; readonly alive: number; readonly need: number } {
    const alive = this.peers.aliveCount(nowMs);
    return { hasQuorum: alive >= this.quorum, alive, need: this.quorum };
  }

  /** Why this node cannot serve, or undefined when it can. */
  notReadyReason(nowMs: number): string | undefined {
    const waiting = this.admission.waitingFor();
    if (waiting !== undefined) return waiting;
    const { hasQuorum, alive, need } = this.visibility(nowMs);
    if (!hasQuorum) return `sees ${alive} of the ${need} voters that a quorum needs`;
    if (1 + this.peers.others.filter((peer) => peer.hasStatus).length < this.quorum)
      return "waits for the status of a quorum";
    const behind = (this.peers.furthest(nowMs)?.applied ?? 0) - this.slots.applied;
    return behind > LAG_SLOTS_READY ? `catching up: ${behind} slots behind` : undefined;
  }

  step(event: ReplicaEvent, nowMs: number): Effects {
    this.nowMs = nowMs;
    switch (event.kind) {
      case "peer":
        this.onPeer(event.node, event.state);
        break;
      case "message":
        this.onMessage(event.from, event.message);
        break;
      case "written":
        this.onWritten(event.ticket, event.writeNumber, event.proposeBelow);
        break;
      case "batch":
        this.addBatch(event.id, event.commands);
        this.effects.send("others", { kind: "batch", id: event.id, commands: event.commands });
        break;
      case "read":
        this.startReadRound();
        break;
      case "tick":
        this.onTick();
        break;
      case "turn-end":
        this.proposeAsConvener();
        this.burnDoubt();
        break;
      default:
        unreachable(event);
    }
    const effects = this.effects;
    this.effects = new Effects();
    return effects;
  }

  // ── peers and admission ────────────────────────────────────────────────────────────────────────────────────────────

  private onPeer(node: NodeId, state: "up" | "down"): void {
    const peer = this.peers.get(node);
    if (peer === undefined) return;
    peer.isUp = state === "up";
    if (state === "down") {
      this.admission.forget(node);
      return;
    }
    peer.heardMs = this.nowMs;
    this.sendHello(node);
    this.sendStatus(node);
  }

  private persistForming(entry: JournalEntry | undefined): void {
    if (entry?.kind === "voter-list" || entry?.kind === "formed") this.persist(entry, { kind: entry.kind });
  }

  /** Asks for a durable write; the sequel runs in the step that hears of its fsync. */
  private persist(entry: JournalEntry, sequel?: PendingWrite["sequel"]): void {
    this.ticket += 1;
    this.effects.persist.push(entry);
    if (sequel === undefined) return;
    this.effects.isPersistUrgent = true;
    this.pending.push({ ticket: this.ticket, sequel });
  }

  private sendHello(node: NodeId): void {
    this.effects.send(node, this.admission.hello(node, this.doubtBelow));
  }

  private sendStatus(to: NodeId | "others"): void {
    const { applied, decided } = this.slots;
    this.effects.send(to, { kind: "status", applied, decided, voted: this.voted, doubtBelow: this.doubtBelow });
  }

  private onMessage(from: NodeId, message: Message): void {
    const peer = this.peers.get(from);
    if (peer === undefined) return;
    peer.heardMs = this.nowMs;
    if (message.kind === "hello") {
      this.onHello(peer, message);
      return;
    }
    if (message.kind === "hello-reply") {
      this.admission.onReply(from, message, this.effects);
      return;
    }
    // Before both have met nothing counts: the sender repeats whatever still matters.
    if (!this.admission.isFormed || !this.admission.hasMet(from)) return;
    this.onVoterMessage(peer, message);
  }

  private onHello(peer: Peer, hello: Extract<Message, { kind: "hello" }>): void {
    const isNewStart = hello.startId !== peer.startId;
    this.persistForming(this.admission.onHello(peer.node, hello, this.peers, this.effects));
    if (!this.admission.hasMet(peer.node)) return;
    peer.doubtBelow = hello.doubtBelow;
    if (hello.wantsHello || isNewStart) this.sendHello(peer.node);
  }

  private onVoterMessage(peer: Peer, message: Exclude<Message, { kind: "hello" | "hello-reply" }>): void {
    switch (message.kind) {
      case "batch":
        if (this.admission.isVoterUid(message.id.origin)) this.addBatch(message.id, message.commands);
        return;
      case "proposal":
      case "ballot":
        this.onSlotMessage(
          { voter: peer.index, message, pullAtMs: this.nowMs + PULL_AFTER_MS, pullDelayMs: PULL_AGAIN_MS },
          peer,
        );
        return;
      case "decision":
        this.onDecision(message.slot, message.outcome);
        return;
      case "pull-batches":
        this.answerBatches(peer, message.ids);
        return;
      case "pull-slots":
        this.answerSlots(peer, message.slots);
        return;
      case "pull-log":
        if (message.from < this.slots.applied) this.effects.logRequests.push({ to: peer.node, from: message.from });
        return;
      case "log":
        this.onLog(message.entries);
        return;
      case "status":
        this.onStatus(peer, message);
        return;
      case "read-index":
        if (!this.admission.isAdmitted) return;
        this.effects.send(peer.node, { kind: "read-index-reply", nonce: message.nonce, voted: this.votedOrDecided() });
        return;
      case "read-index-reply":
        this.finishRead(this.reads.answer(peer.index, message.nonce, message.voted));
        return;
    }
  }

  private onStatus(peer: Peer, status: Extract<Message, { kind: "status" }>): void {
    peer.applied = status.applied;
    peer.decided = status.decided;
    peer.voted = status.voted;
    peer.doubtBelow = status.doubtBelow;
    peer.lag = this.slots.applied - status.applied;
    peer.hasStatus = true;
  }

  // ── one slot ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private onSlotMessage(entry: Parked, peer: Peer | undefined): void {
    const { message } = entry;
    const slot = message.kind === "proposal" ? message.slot : message.ballot.slot;
    if (message.kind === "ballot" && peer !== undefined)
      peer.writeNumber = Math.max(peer.writeNumber, message.writeNumber);
    if (slot < this.slots.applied) return;
    if (slot >= this.slots.windowEnd) {
      // Too far ahead to count: it only says that this node is behind.
      if (peer !== undefined) peer.applied = Math.max(peer.applied, slot - this.config.windowSlots + 1);
      return;
    }
    if (message.kind === "ballot" && message.ballot.phase > PHASE_MAX) return;
    const open = this.slots.open(slot, this.nowMs);
    const missing = missingBatches(choiceOf(message), this.pool, this.dedupe);
    if (missing.size > 0) this.slots.park(slot, entry, [...missing.keys()]);
    else this.count(open, entry);
  }

  private count(slot: Slot, { voter, message }: Parked): void {
    const result =
      message.kind === "proposal" ? slot.countProposal(voter, message.value) : slot.countBallot(voter, message.ballot);
    if (result === "contradicts") {
      this.effects.alarms.push({ kind: "contradiction", from: this.nodeAt(voter), slot: slot.slot });
      return;
    }
    if (message.kind === "proposal") this.onProposalCounted(slot, voter, message.value);
    this.advance(slot);
  }

  private onProposalCounted(slot: Slot, voter: number, value: Value): void {
    const proposer = this.nodeAt(voter);
    if (proposer === this.convener()) this.pace.noteConvener(proposer, "proposed", this.nowMs);
    if (this.canPropose(slot)) this.propose(slot, value);
  }

  private canPropose(slot: Slot): boolean {
    const isAllowed = this.admission.isAdmitted && !slot.isInDoubt && slot.slot < this.durableProposeBelow;
    return (
      isAllowed && slot.ownProposal === undefined && slot.decision === undefined && slot.slot < this.slots.windowEnd
    );
  }

  private propose(slot: Slot, value: Value): void {
    assert(slot.ownProposal === undefined, "C1: second Proposal in one slot");
    slot.ownProposal = value;
    slot.held = value;
    this.pool.assign(value, slot.slot);
    this.effects.send("others", { kind: "proposal", slot: slot.slot, value });
    slot.countProposal(this.selfIndex, value);
    this.advance(slot);
  }

  /** Does what the slot's rules demand until they demand nothing. */
  private advance(slot: Slot): void {
    if (!this.admission.isAdmitted) return;
    for (;;) {
      const move = slot.nextMove();
      switch (move.kind) {
        case "wait":
          return;
        case "decide":
          this.decide(slot, move.outcome, move.phase);
          return;
        case "cast":
          this.cast(slot, move.ballot);
          break;
      }
    }
  }

  private cast(slot: Slot, ballot: Ballot): void {
    slot.cast(ballot);
    const { choice } = ballot;
    const batches = choice === UNSURE || choice === NULL_OUTCOME ? [] : this.pool.takeUnjournaled(choice);
    this.raiseProposeBelow(slot.slot);
    const entry: JournalEntry = { kind: "ballot", ballot, batches };
    if (this.config.planted === "vote-before-fsync") {
      this.persist(entry);
      this.ballotDurable(slot, ballot, 0);
    } else this.persist(entry, { kind: "ballot", slot, ballot });
  }

  private onWritten(ticket: number, writeNumber: number, proposeBelow: number): void {
    const written = this.config.planted === "h-not-persisted" ? this.nextProposeBelow : proposeBelow;
    this.durableProposeBelow = Math.max(this.durableProposeBelow, written);
    while (this.pending.length > 0) {
      const next = this.pending[0];
      if (next === undefined || next.ticket > ticket) break;
      this.pending.shift();
      this.runSequel(next.sequel, writeNumber);
    }
  }

  private runSequel(sequel: PendingWrite["sequel"], writeNumber: number): void {
    switch (sequel.kind) {
      case "ballot":
        this.ballotDurable(sequel.slot, sequel.ballot, writeNumber);
        return;
      case "voter-list":
        this.persistForming(this.admission.listWritten());
        this.greetAll();
        return;
      case "formed":
        this.admission.formedWritten();
        this.greetAll();
        return;
    }
  }

  private ballotDurable(slot: Slot, ballot: Ballot, writeNumber: number): void {
    if (ballot.kind === "vote") this.voted = Math.max(this.voted, ballot.slot + 1);
    slot.ballotDurable(ballot);
    this.effects.send("others", { kind: "ballot", ballot, writeNumber });
    this.advance(slot);
  }

  private raiseProposeBelow(slot: number): void {
    this.nextProposeBelow = Math.max(this.nextProposeBelow, slot + this.config.windowSlots + 1);
  }

  // ── decided slots ──────────────────────────────────────────────────────────────────────────────────────────────────

  private onDecision(slot: number, outcome: Outcome): void {
    if (slot < this.slots.applied || slot >= this.slots.windowEnd) return;
    const open = this.slots.open(slot, this.nowMs);
    if (open.decision === undefined) this.decide(open, outcome, "told");
    else assert(choiceKeyOf(open.decision) === choiceKeyOf(outcome), "C5: a slot is decided differently elsewhere");
  }

  private decide(slot: Slot, outcome: Outcome, phase: number | "told"): void {
    assert(slot.decision === undefined, "C5: a slot is decided once");
    slot.decision = outcome;
    slot.decidedPhase = phase;
    this.slots.markDecided(slot);
    this.reassign(slot, outcome);
    this.learnPace(slot, outcome, phase);
    this.effects.decisions.push({ slot: slot.slot, outcome, phase });
    this.applyReady();
  }

  /** Any outcome returns the batches that it does not contain to the unassigned. */
  private reassign(slot: Slot, outcome: Outcome): void {
    const { held } = slot;
    if (held !== undefined && outcome !== NULL_OUTCOME && held.key === outcome.key) return;
    if (held !== undefined) this.pool.release(held, slot.slot);
    if (outcome !== NULL_OUTCOME) this.pool.assign(outcome, slot.slot);
  }

  private learnPace(slot: Slot, outcome: Outcome, phase: number | "told"): void {
    if (outcome === NULL_OUTCOME) {
      // Null slots below somebody's D come from a restart, not from contention.
      if (slot.slot >= highestDoubt(this.view)) this.pace.slotNull(this.nowMs);
    } else if (phase === 0 && !slot.isInDoubt) this.pace.slotDecided(this.nowMs - slot.times.firstSeenMs);
  }

  private applyReady(): void {
    for (;;) {
      const slot = this.slots.peek(this.slots.applied);
      if (slot?.decision === undefined || !this.apply(slot, slot.decision)) return;
    }
  }

  /** False while a batch of the outcome is missing here. */
  private apply(slot: Slot, outcome: Outcome): boolean {
    if (missingBatches(outcome, this.pool, this.dedupe).size > 0) return false;
    const fresh = outcome === NULL_OUTCOME ? [] : this.pool.takeUnjournaled(outcome);
    const batches = this.runBatches(batchesOf(outcome));
    this.raiseProposeBelow(slot.slot);
    this.effects.applies.push({ slot: slot.slot, outcome, batches });
    this.persist({ kind: "decided", slot: slot.slot, outcome, batches: fresh });
    this.slots.advanceApplied();
    for (const id of batchesOf(outcome)) this.recount(batchKeyOf(id));
    return true;
  }

  /** Marks the batches that did not run before, one by one, exactly as a replay of the journal does. */
  private runBatches(ids: readonly BatchId[]): readonly Batch[] {
    const ran: Batch[] = [];
    const isDropped = this.config.planted === "dedupe-dropped";
    for (const id of ids) {
      const batch = this.pool.get(batchKeyOf(id));
      if (batch !== undefined && (isDropped || !this.dedupe.covers(id))) {
        ran.push(batch);
        if (this.dedupe.mark(id)) this.pool.removeOlder(id.origin, id.incarnation);
      }
      if (!isDropped) this.pool.remove(batchKeyOf(id));
    }
    return ran;
  }

  // ── batches ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private addBatch(id: BatchId, commands: Uint8Array): void {
    if (this.dedupe.covers(id) || !this.pool.add(id, commands, this.nowMs)) return;
    this.recount(batchKeyOf(id));
    this.applyReady();
  }

  /** Messages that waited for this batch count now, unless they wait for another one too. */
  private recount(key: BatchKey): void {
    for (const entry of this.slots.unpark(key)) this.onSlotMessage(entry, undefined);
  }

  private answerBatches(peer: Peer, ids: readonly BatchId[]): void {
    for (const id of ids.slice(0, PULL_IDS_MAX)) {
      const batch = this.pool.get(batchKeyOf(id));
      if (batch !== undefined) this.effects.send(peer.node, { kind: "batch", id, commands: batch.commands });
    }
  }

  // ── proposing ──────────────────────────────────────────────────────────────────────────────────────────────────────

  private proposeAsConvener(): void {
    if (this.pool.unassignedCount > 0 && this.convener() === this.self) this.proposeNext();
  }

  /** Proposes unassigned batches for the next slots while fewer than P are in flight. */
  private proposeNext(): void {
    while (this.slots.inFlight < this.config.pipelineSlots && this.nowMs >= this.pace.backoffUntilMs) {
      const next = this.slots.active;
      if (next >= this.slots.windowEnd || !this.mayProposeAt(next)) return;
      const value = this.pool.nextValue(VALUE_IDS_MAX, VALUE_BYTES_MAX);
      if (value === undefined) return;
      this.propose(this.slots.open(next, this.nowMs), value);
    }
  }

  private mayProposeAt(slot: number): boolean {
    return this.admission.isAdmitted && slot >= this.doubtBelow && slot < this.durableProposeBelow;
  }

  /**
   * Where the voters alive and not in doubt are fewer than a quorum, no value can win: every voter votes `?` at once,
   * for
   * all such slots of the window together, as soon as anyone has work.
   */
  private burnDoubt(): void {
    const isWanted = this.slots.inFlight > 0 || this.pool.unassignedCount > 0;
    if (!this.admission.isAdmitted || !isWanted) return;
    const end = Math.min(this.slots.windowEnd, highestDoubt(this.view));
    for (let at = this.slots.applied; at < end; at++) {
      if (countCertain(this.view, at, this.nowMs) >= this.quorum) continue;
      const slot = this.slots.open(at, this.nowMs);
      const ballot = slot.unsureVote();
      if (ballot !== undefined) this.cast(slot, ballot);
    }
  }

  // ── timers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  private onTick(): void {
    this.greetStrangers();
    if (this.nowMs >= this.statusAtMs) {
      this.statusAtMs = this.nowMs + STATUS_MS;
      this.sendStatus("others");
    }
    if (this.config.voters.length === 1) this.persistForming(this.admission.nextRecord());
    if (!this.admission.isAdmitted) return;
    for (const slot of [...this.slots.undecided()]) this.tickSlot(slot);
    this.pullOverdueBatches();
    this.tickPropose();
    this.tickReads();
    this.catchUp();
    this.proposeAsConvener();
    this.burnDoubt();
  }

  private greetStrangers(): void {
    if (this.nowMs < this.helloAtMs) return;
    this.helloAtMs = this.nowMs + HELLO_MS;
    for (const peer of this.peers.others) {
      const isDone =
        this.admission.isFormed && this.admission.isAcceptedBy(peer.node) && this.admission.hasMet(peer.node);
      if (peer.isUp && !isDone) this.sendHello(peer.node);
    }
  }

  private greetAll(): void {
    for (const peer of this.peers.others) if (peer.isUp) this.sendHello(peer.node);
  }

  private tickSlot(slot: Slot): void {
    const { times } = slot;
    this.advance(slot);
    if (slot.decision !== undefined) return;
    if (this.nowMs >= times.patienceAtMs && !slot.hasVoted) this.losePatience(slot);
    if (slot.decision === undefined && this.nowMs >= times.resendAtMs) {
      times.resendDelayMs = Math.min(RESEND_MS_MAX, times.resendDelayMs * 2);
      times.resendAtMs = this.nowMs + times.resendDelayMs * (1 + this.random.next() / 4);
      this.sendRecord("others", slot);
      this.effects.send("others", { kind: "pull-slots", slots: [slot.slot] });
    }
  }

  /**
   * Phase 0 takes too long. A gap that nobody proposed for is closed with NOOP; otherwise `?`, which is always safe
   * here.
   */
  private losePatience(slot: Slot): void {
    slot.times.patienceAtMs = this.nowMs + this.pace.votePatienceMs;
    if (slot.isUnseen && !this.slots.hasParked(slot.slot) && this.canPropose(slot)) {
      this.propose(slot, NOOP);
      return;
    }
    const ballot = slot.unsureVote();
    if (ballot !== undefined) this.cast(slot, ballot);
  }

  /** Whatever was lost of this node's part in the slot is repaired by saying it again. */
  private sendRecord(to: NodeId | "others", slot: Slot): void {
    for (const message of recordOf(slot, this.admission.self.startWrite)) this.effects.send(to, message);
  }

  private answerSlots(peer: Peer, slots: readonly number[]): void {
    let fromLog: number | undefined;
    for (const at of slots.slice(0, this.config.windowSlots)) {
      const slot = this.slots.peek(at);
      if (slot?.decision !== undefined) {
        this.effects.send(peer.node, { kind: "decision", slot: at, outcome: slot.decision });
      } else if (at < this.slots.applied) fromLog = Math.min(fromLog ?? at, at);
      else if (slot !== undefined && this.admission.isAdmitted) this.sendRecord(peer.node, slot);
    }
    if (fromLog !== undefined) this.effects.logRequests.push({ to: peer.node, from: fromLog });
  }

  /** Asks whoever named a batch for it: a voter names only what it has. */
  private pullOverdueBatches(): void {
    const wanted = new Map<number, Map<BatchKey, BatchId>>();
    for (const entry of this.slots.takeOverdue(this.nowMs)) {
      const missing = missingBatches(choiceOf(entry.message), this.pool, this.dedupe);
      wanted.set(entry.voter, new Map([...(wanted.get(entry.voter) ?? []), ...missing]));
      const pullDelayMs = Math.min(RESEND_MS_MAX, entry.pullDelayMs * 2);
      this.onSlotMessage({ ...entry, pullAtMs: this.nowMs + entry.pullDelayMs, pullDelayMs }, undefined);
    }
    for (const [voter, missing] of wanted) {
      const ids = [...missing.values()].slice(0, PULL_IDS_MAX);
      if (ids.length > 0) this.effects.send(this.nodeAt(voter), { kind: "pull-batches", ids });
    }
  }

  /** A batch stays unassigned: the convener is slow, dead or never got it. Propose it here. */
  private tickPropose(): void {
    const oldest = this.pool.unassignedCount === 0 ? undefined : this.pool.oldestUnassignedMs();
    if (oldest === undefined || this.nowMs - Math.max(oldest, this.proposedAtMs) < this.proposePatienceMs) return;
    this.proposedAtMs = this.nowMs;
    this.proposePatienceMs = this.pace.proposePatienceMs();
    const convener = this.convener();
    if (convener !== this.self) this.pace.noteConvener(convener, "missed", this.nowMs);
    this.resendOwnBatches();
    this.proposeNext();
  }

  private resendOwnBatches(): void {
    if (this.nowMs < this.batchResendAtMs) return;
    this.batchResendAtMs = this.nowMs + BATCH_RESEND_MS;
    let bytes = 0;
    for (const { id, commands } of this.pool.unassignedOf(this.admission.self.uid)) {
      bytes += commands.byteLength;
      if (bytes > BATCH_RESEND_BYTES_MAX) return;
      this.effects.send("others", { kind: "batch", id, commands });
    }
  }

  // ── catch-up ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private catchUp(): void {
    if (this.nowMs < this.logPullAtMs) return;
    const source = findLogSource(this.slots, this.peers, { nowMs: this.nowMs, freshMs: this.pace.votePatienceMs * 2 });
    if (source === undefined) return;
    this.logPullAtMs = this.nowMs + LOG_PULL_MS;
    this.effects.send(source.node, { kind: "pull-log", from: this.slots.applied });
  }

  private onLog(entries: Extract<Message, { kind: "log" }>["entries"]): void {
    const before = this.slots.applied;
    for (const entry of entries) {
      if (entry.slot !== this.slots.applied) continue;
      batchesOf(entry.outcome).forEach((id, at) => {
        const commands = entry.contents[at];
        if (commands !== undefined) this.addBatch(id, commands);
      });
      // Adding a batch may already have applied the slot.
      if (entry.slot === this.slots.applied) this.onDecision(entry.slot, entry.outcome);
    }
    if (this.slots.applied === before) return;
    // Progress: ask for the next chunk at once.
    this.logPullAtMs = this.nowMs;
    this.catchUp();
  }

  // ── reads ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  private startReadRound(): void {
    this.finishRead(this.reads.begin(this.selfIndex, this.votedOrDecided()));
    this.sendReadIndex();
  }

  private sendReadIndex(): void {
    const nonce = this.reads.openNonce;
    if (nonce === undefined) return;
    this.readResendAtMs = this.nowMs + READ_RESEND_MS;
    this.effects.send("others", { kind: "read-index", nonce });
  }

  private tickReads(): void {
    if (this.nowMs >= this.readResendAtMs) this.sendReadIndex();
  }

  private finishRead(round: ReadRound | undefined): void {
    if (round !== undefined) this.effects.readTargets.push(round.target);
  }

  private votedOrDecided(): number {
    return Math.max(this.voted, this.slots.applied);
  }

  // ── start ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  private restore(recovered: RecoveredState): void {
    for (const { id, commands } of recovered.batches) this.pool.add(id, commands, 0, "journaled");
    for (const ballot of recovered.ballots) {
      const slot = this.slots.open(ballot.slot, 0);
      slot.restore(ballot);
      if (ballot.choice !== UNSURE && ballot.choice !== NULL_OUTCOME) {
        slot.held = ballot.choice;
        this.pool.assign(ballot.choice, ballot.slot);
      }
      if (ballot.kind === "vote") this.voted = Math.max(this.voted, ballot.slot + 1);
    }
  }

  private nodeAt(index: number): NodeId {
    const node = this.config.voters[index];
    assert(node !== undefined, "a voter index comes from the voter list");
    return node;
  }
}

function choiceOf(message: Parked["message"]): VoteChoice {
  return message.kind === "proposal" ? message.value : message.ballot.choice;
}
