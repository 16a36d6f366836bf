// Owns: one voter of one consensus group as a pure machine: `step(event, nowMs) -> Effects`. It calls nobody: no clock,
// random source, socket, file or promise inside. Here are its doors: events, peers, admission, reads, members.
// Does not own: agreement on slots (agreement.ts), proposing (proposer.ts), what is missing (repairs.ts), bytes
// (message-codec.ts, journal.ts).
import { unreachable } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import type { PlantedFault, TestChoices } from "../observer.ts";
import { Admission, type AdmissionState, type SelfIdentity } from "./admission.ts";
import { Agreement } from "./agreement.ts";
import { BatchPool } from "./batch-pool.ts";
import { type ConvenerView, isCaughtUp, pickConvener } from "./convener.ts";
import type { Effects, JournalEntry, ReplicaEvent } from "./effects.ts";
import type { LogState } from "./log-state.ts";
import type { ClusterSight } from "./membership-plan.ts";
import { MembershipWishes } from "./membership-wishes.ts";
import type { Voter, VoterList } from "./membership.ts";
import type { Ballot, BatchId, Message } from "./message.ts";
import { Pace } from "./pace.ts";
import { type Peer, type PeerPromise, PeerView } from "./peer-view.ts";
import { Proposer } from "./proposer.ts";
import { type ReadRound, ReadRounds } from "./read-rounds.ts";
import { firstPull, Repairs } from "./repairs.ts";
import { slotRules } from "./slot-rules.ts";
import { SlotTable } from "./slot-table.ts";
import { StateAudit } from "./state-audit.ts";
import { Turn } from "./turn.ts";

export interface ReplicaConfig {
  /** The first voters by name; none for a node that joins. */
  readonly firstVoters: readonly NodeId[];
  /** W: how far votes may run ahead of the applied state. Fixed when the cluster forms. */
  readonly windowSlots: number;
  /** P: slots in flight at most. */
  readonly pipelineSlots: number;
  readonly planted: PlantedFault | undefined;
  readonly choices?: TestChoices | undefined;
}

/** What this node's disk says at start. */
export interface RecoveredState {
  readonly self: SelfIdentity;
  /** Raised and fsynced at every start. */
  readonly incarnation: number;
  readonly admission: AdmissionState & { readonly seed: string | undefined };
  readonly applied: number;
  readonly log: LogState;
  /** The log begins here; earlier slots are only in the state. */
  readonly logStart: number;
  /** There is no state that can be believed: another node's must be installed first. */
  readonly needsState: boolean;
  /** H: no proposal was ever sent for a slot at or above it. */
  readonly proposeBelow: number;
  /** Own ballots of slots that are not applied yet. */
  readonly ballots: readonly Ballot[];
  /** Batches on disk that have not run. */
  readonly batches: readonly { readonly id: BatchId; readonly commands: Uint8Array }[];
  readonly promises: readonly PeerPromise[];
}

const STATUS_MS = 250;
const HELLO_MS = 200;
const READ_RESEND_MS = 50;
/** A late answer to a round of an earlier start must not answer one of this start. */
const NONCES_PER_START = 2 ** 32;
const STATUS_HASHES_MAX = 4;
/** A voter that was not met in this time, while others were, counts as one that is not there. */
const MEET_MS_MAX = 1_000;
/** How far behind the others a node may be and still call itself caught up. */
export const LAG_SLOTS_READY = 64;

export class Replica {
  readonly admission: Admission;
  readonly peers: PeerView;
  readonly slots: SlotTable;
  /** What consensus itself replicates; replaced when the state of another node is installed. */
  readonly log: LogState;
  private readonly config: ReplicaConfig;
  private readonly self: SelfIdentity;
  private readonly pool = new BatchPool();
  private readonly reads: ReadRounds;
  private readonly audit = new StateAudit();
  private readonly pace: Pace;
  private readonly view: ConvenerView;
  private readonly agreement: Agreement;
  private readonly proposer: Proposer;
  private readonly repairs: Repairs;
  private readonly wishes: MembershipWishes;
  private readonly turn = new Turn();
  private statusAtMs = 0;
  private helloAtMs = 0;
  private readResendAtMs = 0;
  /** So long this start waits for the last voters; known once it has met a quorum. */
  private meetUntilMs = Number.POSITIVE_INFINITY;
  /** Where this node's log begins; the driver says so when it cuts the journal. */
  logStart: number;
  /** Slots [0, synced) are on this node's disk as applied; the driver says so. */
  synced: number;
  /** Why the state cannot be believed now. */
  dispute: string | undefined;

  constructor(config: ReplicaConfig, recovered: RecoveredState, random: Random) {
    const { firstVoters, windowSlots, pipelineSlots, planted } = config;
    const { self, log, logStart, proposeBelow } = recovered;
    this.config = config;
    this.self = self;
    this.log = log;
    this.logStart = logStart;
    this.synced = recovered.applied;
    const { membership } = log;
    const progress = { applied: () => this.slots.applied, synced: () => this.synced };
    this.admission = new Admission({ self, firstVoters, windowSlots, membership, ...progress }, recovered.admission);
    this.peers = new PeerView(self, recovered.promises);
    this.pace = new Pace(random.fork("pace"), () => this.rank);
    this.reads = new ReadRounds(recovered.incarnation * NONCES_PER_START);
    // A voter that had not formed a cluster has proposed nothing that it could have forgotten.
    const doubtBelow = recovered.admission.isFormed && planted !== "repropose-in-doubt" ? proposeBelow : 0;
    const { admission, peers, pace, pool, turn } = this;
    const { choices } = config;
    const aliveCount = (list: VoterList): number => peers.aliveCount(list, turn.nowMs);
    this.slots = new SlotTable({
      applied: recovered.applied,
      isFrozen: recovered.needsState,
      windowSlots,
      doubtBelow,
      rulesOf: slotRules({ self, log, admission, aliveCount, choices, planted }),
      patienceMs: () => pace.votePatienceMs,
    });
    const { slots } = this;
    const reach = { windowSlots, doubtBelow, choices };
    const view = { self: self.node, selfUid: self.uid, ...reach, log, slots, peers, admission, pace };
    this.view = view;
    const shared = { turn, slots, pool, pace, view };
    this.agreement = new Agreement({ ...shared, admission, log, windowSlots, proposeBelow, logStart, planted });
    const { agreement } = this;
    this.proposer = new Proposer({ ...shared, agreement, random, pipelineSlots });
    this.repairs = new Repairs({ turn, pool, view, agreement, planted });
    this.wishes = new MembershipWishes(self, view, turn);
    for (const { id, commands } of recovered.batches) pool.add(id, commands, 0, "journaled");
    this.agreement.restore(recovered.ballots);
    if (recovered.applied === 0 && this.admission.lacksSeed) this.slots.isFrozen = true;
    this.syncPeers();
  }

  /** Position in the voter list, which staggers who loses patience first. */
  private get rank(): number {
    return Math.max(0, this.log.membership.rulingAt(this.slots.applied).indexOf(this.self.uid));
  }

  /** The voters of the next slot that is not applied here. */
  get voterList(): VoterList {
    return this.log.membership.rulingAt(this.slots.applied);
  }

  get isVoter(): boolean {
    return this.voterList.has(this.self.uid);
  }

  /** H, for the next durable write. */
  get proposeBelow(): number {
    return this.agreement.proposeBelow;
  }

  get hasWork(): boolean {
    const isBusy = this.slots.inFlight > 0 || this.pool.unassignedCount > 0 || this.hasOpenRead;
    return isBusy || this.log.membership.pendingAt(this.slots.active) !== undefined;
  }

  get hasOpenRead(): boolean {
    return this.reads.openNonce !== undefined;
  }

  /** Who should propose next, as this node sees it. */
  convener(): NodeId {
    return pickConvener(this.view, this.slots.active, this.turn.nowMs);
  }

  /** Whether this node sees a majority now, and how many voters it sees. */
  visibility(nowMs: number): { readonly hasQuorum: boolean; readonly alive: number; readonly need: number } {
    const list = this.voterList;
    const alive = this.peers.aliveCount(list, nowMs);
    return { hasQuorum: alive >= list.quorum, alive, need: list.quorum };
  }

  /** Why this node cannot serve, or undefined when it can. */
  notReadyReason(nowMs: number): string | undefined {
    const waiting = this.admission.waitingFor();
    if (waiting !== undefined) return waiting;
    const { hasQuorum, alive, need } = this.visibility(nowMs);
    if (!hasQuorum) return `sees ${alive} of the ${need} voters that a quorum needs`;
    if (!this.hasMetQuorum) return "waits for the status of a quorum";
    const unmet = this.peers.unmet(this.voterList);
    // Whoever stops the next node when this one is ready counts on it that the others see this one.
    if (unmet.length > 0 && nowMs < this.meetUntilMs) return `has not met ${unmet.join(", ")} yet`;
    const { dispute } = this;
    if (dispute !== undefined) return dispute;
    if (this.slots.isFrozen) return "its state is not to be believed: it fetches that of another node";
    const behind = this.slotsBehind(nowMs);
    return behind > LAG_SLOTS_READY ? `catching up: ${behind} slots behind` : undefined;
  }

  private get hasMetQuorum(): boolean {
    const { voters, quorum } = this.voterList;
    return voters.length - this.peers.unmet(this.voterList).length >= quorum;
  }

  /** How many slots others have applied and this node has not. */
  slotsBehind(nowMs: number): number {
    return Math.max(0, (this.peers.furthest(nowMs)?.applied ?? 0) - this.slots.applied);
  }

  /** Whether the state of a node that has applied this much is better than the own one. */
  wantsState(appliedSlots: number): boolean {
    // Of slots before the own log this node does not know what it voted: it must not take part in them again.
    return this.slots.isFrozen ? appliedSlots >= this.logStart : appliedSlots > this.slots.applied;
  }

  step(event: ReplicaEvent, nowMs: number): Effects {
    this.turn.begin(nowMs);
    switch (event.kind) {
      case "peer":
        this.onPeer(event.node, event.state);
        break;
      case "message":
        this.onMessage(event.from, event.message);
        break;
      case "written":
        this.agreement.onWritten(event.proposeBelow);
        this.turn.written(event.ticket, event.writeNumber);
        break;
      case "batch":
        this.agreement.addOwnBatch(event.id, event.commands);
        break;
      case "read":
        this.startReadRound();
        break;
      case "state-hash":
        this.audit.note(event.slot, event.hash);
        this.auditState();
        break;
      case "installed":
        this.install(event);
        break;
      case "ending":
        this.turn.persist(event.entry, () => undefined);
        break;
      case "tick":
        this.onTick();
        break;
      case "turn-end":
        this.proposer.onTurnEnd();
        break;
      default:
        unreachable(event);
    }
    return this.turn.end();
  }

  get patienceFirings(): number {
    return this.proposer.patienceFirings;
  }

  private onTick(): void {
    const { nowMs } = this.turn;
    this.peers.look(nowMs);
    this.repairs.onTick();
    this.greetStrangers();
    if (nowMs >= this.statusAtMs) {
      this.statusAtMs = nowMs + STATUS_MS;
      this.sendStatus("others");
    }
    // A single voter meets nobody whose hello could set off its forming.
    if (this.config.firstVoters.length === 1) this.persistForming(this.admission.nextRecord());
    // What is decided may be learned by anybody: a new member cannot know yet who must accept it.
    if (this.admission.isFormed) this.repairs.catchUp();
    if (!this.admission.isAdmitted) return;
    this.repairs.pullOverdueBatches();
    if (nowMs >= this.readResendAtMs) this.sendReadIndex();
    this.wishes.ask();
    this.proposer.onTick();
  }

  private send(to: NodeId | "others", message: Message): void {
    this.turn.effects.send(to, message);
  }

  // ── peers and admission ────────────────────────────────────────────────────────────────────────────────────────────

  private onPeer(node: NodeId, state: "up" | "down"): void {
    const peer = this.peers.ensure(node);
    peer.isUp = state === "up";
    if (state === "down") {
      this.admission.forget(node);
      this.syncPeers();
      this.proposer.resendOwnBatches();
      this.agreement.relayLost(node);
      return;
    }
    peer.heardMs = this.turn.nowMs;
    this.sendHello(node);
    this.sendStatus(node);
  }

  private persistForming(entry: JournalEntry | undefined): void {
    if (entry === undefined) return;
    this.turn.persist(entry, () => {
      if (entry.kind === "formed") this.onFormed();
      else this.persistForming(this.admission.listWritten());
      for (const peer of this.peers.others) if (peer.isUp) this.sendHello(peer.node);
    });
  }

  private onFormed(): void {
    this.admission.formedWritten();
    // The log of a restored cluster goes on from the state that it was restored to, and that is not here.
    if (this.admission.lacksSeed) this.slots.isFrozen = true;
    this.syncPeers();
    this.turn.effects.hasNewMembers = true;
  }

  /** Members stay known while they are away, others only while they are connected. */
  private syncPeers(): void {
    const { members } = this.log.membership;
    const listed = this.log.membership.listsFrom(this.slots.applied).flatMap((list) => list.nodes);
    this.peers.sync([...listed, ...members.map((member) => member.node)]);
    this.peers.forgetPromises((uid) => {
      return this.log.membership.isRemoved(uid) && !this.ruling.some((list) => list.has(uid));
    });
  }

  private sendHello(node: NodeId): void {
    this.send(node, this.admission.hello(node, this.view.doubtBelow));
  }

  private sendStatus(to: NodeId | "others"): void {
    const { applied, decided } = this.slots;
    const { voted } = this.agreement;
    const { doubtBelow } = this.view;
    const { synced, logStart } = this;
    const hashes = this.audit.hashes.slice(-STATUS_HASHES_MAX);
    this.send(to, { kind: "status", applied, decided, voted, doubtBelow, synced, logStart, hashes });
  }

  private greetStrangers(): void {
    const { admission, turn } = this;
    if (turn.nowMs < this.helloAtMs) return;
    this.helloAtMs = turn.nowMs + HELLO_MS;
    for (const { node, isUp, uid } of this.peers.others) {
      const isDone = admission.isFormed && admission.isAcceptedBy(uid) && admission.hasMet(node);
      if (isUp && !isDone) this.sendHello(node);
    }
  }

  private onMessage(from: NodeId, message: Message): void {
    const peer = this.peers.get(from);
    if (peer === undefined) return;
    if (message.kind === "hello") this.onHello(from, message);
    else if (message.kind === "hello-reply") this.admission.onReply(from, message, this.turn.effects);
    // A data directory that is refused here speaks under the voter's name: that voter was not heard.
    if (!this.admission.hasMet(from)) return;
    (this.peers.get(from) ?? peer).heardMs = this.turn.nowMs;
    // Before both have met nothing else counts: the sender repeats whatever still matters.
    if (message.kind === "hello" || message.kind === "hello-reply" || !this.admission.isFormed) return;
    this.onVoterMessage(peer, message);
  }

  private onHello(from: NodeId, hello: Extract<Message, { kind: "hello" }>): void {
    const isNewStart = hello.startId !== this.peers.get(from)?.startId;
    const { peer, entry } = this.admission.onHello(from, hello, this.peers, this.turn.effects);
    this.persistForming(entry);
    if (peer === undefined) return;
    peer.doubtBelow = hello.doubtBelow;
    if (hello.wantsHello || isNewStart) this.sendHello(from);
  }

  private onVoterMessage(peer: Peer, message: Exclude<Message, { kind: "hello" | "hello-reply" }>): void {
    const { agreement, turn } = this;
    switch (message.kind) {
      case "batch":
        if (this.log.membership.isMember(message.id.origin)) agreement.addBatch(message.id, message.commands);
        return;
      case "proposal":
      case "ballot": {
        const voter = { node: peer.node, uid: peer.uid };
        agreement.onSlotMessage({ voter, message, ...firstPull(turn.nowMs) }, peer);
        return;
      }
      case "decision":
        agreement.noteHeard(message);
        agreement.onDecision(message.slot, message.outcome);
        return;
      case "pull-batches":
        this.repairs.answerBatches(peer, message.ids);
        return;
      case "pull-slots":
        this.repairs.answerSlots(peer, message.slots);
        return;
      case "pull-log":
        this.repairs.answerLog(peer, message.from);
        return;
      case "log":
        this.repairs.onLog(message.entries);
        return;
      case "status":
        this.onStatus(peer, message);
        return;
      case "read-index":
        if (!this.admission.isAdmitted) return;
        this.send(peer.node, { kind: "read-index-reply", nonce: message.nonce, voted: agreement.voted });
        return;
      case "read-index-reply":
        this.finishRead(this.reads.answer(peer.uid, message, this.ruling));
        return;
      default:
        unreachable(message);
    }
  }

  private onStatus(peer: Peer, status: Extract<Message, { kind: "status" }>): void {
    peer.applied = status.applied;
    peer.doubtBelow = status.doubtBelow;
    peer.synced = status.synced;
    peer.logStart = status.logStart;
    peer.hashes = status.hashes;
    peer.lag = this.slots.applied - status.applied;
    peer.hasStatus = true;
    if (this.hasMetQuorum) this.meetUntilMs = Math.min(this.meetUntilMs, this.turn.nowMs + MEET_MS_MAX);
    this.auditState();
  }

  // ── reads ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The voters have changed: whoever waits asks in a new round. */
  abandonReads(): void {
    this.reads.abandon();
  }

  private startReadRound(): void {
    this.finishRead(this.reads.begin(this.self.uid, this.agreement.voted, this.ruling));
    this.sendReadIndex();
  }

  /** Every list of voters that rules a slot which is not applied here. */
  private get ruling(): readonly VoterList[] {
    return this.log.membership.listsFrom(this.slots.applied);
  }

  private sendReadIndex(): void {
    const nonce = this.reads.openNonce;
    if (nonce === undefined) return;
    this.readResendAtMs = this.turn.nowMs + READ_RESEND_MS;
    this.send("others", { kind: "read-index", nonce });
  }

  private finishRead(round: ReadRound | undefined): void {
    if (round !== undefined) this.turn.effects.readTargets.push(round.target);
  }

  // ── members ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What a change of the members is judged by. */
  get sight(): ClusterSight {
    const { nowMs } = this.turn;
    return {
      membership: this.log.membership,
      applied: this.slots.applied,
      isAlive: (voter) => this.peers.isVoterAlive(voter, nowMs),
      isCaughtUp: (member) => this.isMemberCaughtUp(member),
      isSettled: (list) => this.isSettled(list),
    };
  }

  private isMemberCaughtUp({ node, uid }: Voter): boolean {
    if (uid === this.self.uid) return isCaughtUp(this.view, this.turn.nowMs);
    const peer = this.peers.get(node);
    return peer?.uid === uid && peer.hasStatus && this.slots.applied - peer.applied <= this.config.windowSlots;
  }

  /** Why this node may stop: a list without it rules, and a quorum of that list has everything before on disk. */
  get removal(): string | undefined {
    const { membership } = this.log;
    const { uid, node } = this.self;
    if (!membership.isFormed || !membership.isRemoved(uid)) return undefined;
    const last = this.ruling.at(-1);
    if (last === undefined || !this.isSettled(last)) return undefined;
    return `${node} was removed from the cluster: to add it again, start it with an empty data directory and \`join\``;
  }

  /** A quorum of the list has synced every slot before it rules: the change that made it is finished. */
  isSettled(list: VoterList): boolean {
    const synced = list.voters.filter((voter) => {
      const at = voter.uid === this.self.uid ? this.synced : (this.peers.ofVoter(voter)?.synced ?? 0);
      return at >= list.fromSlot;
    });
    return synced.length >= list.quorum;
  }

  // ── the state itself ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Slots [0, applied) came with the state of another node. */
  private install({ applied, log, generation }: Extract<ReplicaEvent, { kind: "installed" }>): void {
    // Before anything that is applied on top of it.
    this.turn.persist({ kind: "generation", generation, slot: applied }, () => undefined);
    this.log.replace(log);
    for (const slot of this.slots.jump(applied)) this.agreement.letGo(slot);
    this.pool.removeCovered((id) => this.log.covers(id));
    this.audit.reset();
    this.syncPeers();
    const { effects } = this.turn;
    effects.hasNewMembers = true;
    effects.hasNewList = true;
    this.agreement.install(applied);
  }

  private auditState(): void {
    const told = new Map(this.peers.others.map((peer) => [peer.uid, peer.hashes]));
    const verdict = this.audit.judge(this.self.uid, told, this.voterList);
    this.dispute = undefined;
    if (verdict.kind === "disputed") {
      this.dispute = `voters disagree about the state after slot ${verdict.slot}, and none has a quorum for its own`;
    } else if (verdict.kind === "diverged") {
      const { slot, own, others } = verdict;
      this.turn.effects.diverged = `the state after slot ${slot} has the hash ${own} here and ${others} on a quorum`;
    }
  }
}
