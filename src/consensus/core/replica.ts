// Owns: one voter of one consensus group as a pure machine: `step(event, nowMs) -> Effects`. It calls nobody: no clock,
// random source, socket, file or promise inside. Here are its doors: events, peers, admission, reads, repair.
// Does not own: agreement on slots (agreement.ts), proposing (proposer.ts), bytes (message-codec.ts, journal.ts).
import { assert, unreachable } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import type { PlantedFault, TestChoices } from "../observer.ts";
import { Admission, type AdmissionState, type SelfIdentity } from "./admission.ts";
import { Agreement } from "./agreement.ts";
import { BatchPool } from "./batch-pool.ts";
import { coin } from "./coin.ts";
import { type ConvenerView, pickConvener } from "./convener.ts";
import type { DedupeTable } from "./dedupe-table.ts";
import type { Effects, JournalEntry, ReplicaEvent } from "./effects.ts";
import { type Ballot, type BatchId, type BatchKey, type Message, batchKeyOf } from "./message.ts";
import { Pace } from "./pace.ts";
import { type Peer, type PeerPromise, PeerView } from "./peer-view.ts";
import { Proposer } from "./proposer.ts";
import { quorumOf } from "./quorum.ts";
import { type ReadRound, ReadRounds } from "./read-rounds.ts";
import { batchesOf, choiceOf, findLogSource, missingBatches, recordOf } from "./repair.ts";
import { SlotTable } from "./slot-table.ts";
import { Turn } from "./turn.ts";

export interface ReplicaConfig {
  readonly voters: readonly NodeId[];
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

const STATUS_MS = 250;
const HELLO_MS = 200;
/** A batch usually arrives within this time of the proposal that names it; then it is pulled. */
const PULL_AFTER_MS = 5;
/** Doubles with each time it was asked for in vain. */
const PULL_AGAIN_MS = 50;
const PULL_AGAIN_MS_MAX = 1_000;
const PULL_IDS_MAX = 256;
const READ_RESEND_MS = 50;
/** A late answer to a round of an earlier start must not answer one of this start. */
const NONCES_PER_START = 2 ** 32;
const LOG_PULL_MS = 200;
/** How far behind the others a node may be and still call itself caught up. */
const LAG_SLOTS_READY = 64;

export class Replica {
  readonly admission: Admission;
  readonly peers: PeerView;
  readonly slots: SlotTable;
  private readonly config: ReplicaConfig;
  private readonly selfIndex: number;
  private readonly quorum: number;
  private readonly pool = new BatchPool();
  private readonly dedupe: DedupeTable;
  private readonly reads: ReadRounds;
  private readonly pace: Pace;
  private readonly view: ConvenerView;
  private readonly agreement: Agreement;
  private readonly proposer: Proposer;
  private readonly turn = new Turn();
  private statusAtMs = 0;
  private helloAtMs = 0;
  private readResendAtMs = 0;
  private logPullAtMs = 0;

  constructor(config: ReplicaConfig, recovered: RecoveredState, random: Random) {
    const { voters, windowSlots, pipelineSlots, planted } = config;
    const { self, dedupe, proposeBelow } = recovered;
    this.config = config;
    this.selfIndex = voters.indexOf(self.node);
    assert(this.selfIndex >= 0, "this node is one of the voters");
    this.quorum = quorumOf(voters.length);
    this.dedupe = dedupe;
    this.admission = new Admission(self, voters, windowSlots, recovered.admission);
    this.peers = new PeerView(voters, self.node, recovered.promises);
    this.pace = new Pace(random.fork("pace"), this.selfIndex);
    this.reads = new ReadRounds(this.quorum, recovered.incarnation * NONCES_PER_START);
    // A voter that had not formed a cluster has proposed nothing that it could have forgotten.
    const doubtBelow = recovered.admission.isFormed && planted !== "repropose-in-doubt" ? proposeBelow : 0;
    this.slots = this.createSlots(recovered.applied, doubtBelow);
    const { admission, peers, pace, selfIndex, slots, pool, turn, quorum } = this;
    const { choices } = config;
    const view = { self: self.node, voters, windowSlots, doubtBelow, slots, peers, admission, pace, choices };
    this.view = view;
    const shared = { turn, slots, pool, pace, view };
    const voter = { admission, dedupe, voters, selfIndex, quorum, windowSlots, proposeBelow, planted };
    this.agreement = new Agreement({ ...shared, ...voter });
    this.proposer = new Proposer({ ...shared, agreement: this.agreement, random, quorum, pipelineSlots });
    for (const { id, commands } of recovered.batches) pool.add(id, commands, 0, "journaled");
    this.agreement.restore(recovered.ballots);
  }

  /** H, for the next durable write. */
  get proposeBelow(): number {
    return this.agreement.proposeBelow;
  }

  get hasWork(): boolean {
    return this.slots.inFlight > 0 || this.pool.unassignedCount > 0 || this.hasOpenRead;
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
    return pickConvener(this.view, this.slots.active, this.turn.nowMs);
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
    const known = 1 + this.peers.others.filter((peer) => peer.hasStatus).length;
    if (known < this.quorum) return "waits for the status of a quorum";
    const behind = (this.peers.furthest(nowMs)?.applied ?? 0) - this.slots.applied;
    return behind > LAG_SLOTS_READY ? `catching up: ${behind} slots behind` : undefined;
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
        this.agreement.addBatch(event.id, event.commands);
        this.send("others", { kind: "batch", id: event.id, commands: event.commands });
        break;
      case "read":
        this.startReadRound();
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

  private onTick(): void {
    const { nowMs } = this.turn;
    this.greetStrangers();
    if (nowMs >= this.statusAtMs) {
      this.statusAtMs = nowMs + STATUS_MS;
      this.sendStatus("others");
    }
    // A single voter meets nobody whose hello could set off its forming.
    if (this.config.voters.length === 1) this.persistForming(this.admission.nextRecord());
    if (!this.admission.isAdmitted) return;
    this.pullOverdueBatches();
    if (nowMs >= this.readResendAtMs) this.sendReadIndex();
    this.catchUp();
    this.proposer.onTick();
  }

  private send(to: NodeId | "others", message: Message): void {
    this.turn.effects.send(to, message);
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
    peer.heardMs = this.turn.nowMs;
    this.sendHello(node);
    this.sendStatus(node);
  }

  private persistForming(entry: JournalEntry | undefined): void {
    if (entry === undefined) return;
    this.turn.persist(entry, () => {
      if (entry.kind === "formed") this.admission.formedWritten();
      else this.persistForming(this.admission.listWritten());
      for (const peer of this.peers.others) if (peer.isUp) this.sendHello(peer.node);
    });
  }

  private sendHello(node: NodeId): void {
    this.send(node, this.admission.hello(node, this.view.doubtBelow));
  }

  private sendStatus(to: NodeId | "others"): void {
    const { applied, decided } = this.slots;
    this.send(to, { kind: "status", applied, decided, voted: this.agreement.voted, doubtBelow: this.view.doubtBelow });
  }

  private greetStrangers(): void {
    const { admission, turn } = this;
    if (turn.nowMs < this.helloAtMs) return;
    this.helloAtMs = turn.nowMs + HELLO_MS;
    for (const { node, isUp } of this.peers.others) {
      const isDone = admission.isFormed && admission.isAcceptedBy(node) && admission.hasMet(node);
      if (isUp && !isDone) this.sendHello(node);
    }
  }

  private onMessage(from: NodeId, message: Message): void {
    const peer = this.peers.get(from);
    if (peer === undefined) return;
    peer.heardMs = this.turn.nowMs;
    if (message.kind === "hello") this.onHello(peer, message);
    else if (message.kind === "hello-reply") this.admission.onReply(from, message, this.turn.effects);
    // Before both have met nothing else counts: the sender repeats whatever still matters.
    else if (this.admission.isFormed && this.admission.hasMet(from)) this.onVoterMessage(peer, message);
  }

  private onHello(peer: Peer, hello: Extract<Message, { kind: "hello" }>): void {
    const isNewStart = hello.startId !== peer.startId;
    this.persistForming(this.admission.onHello(peer.node, hello, this.peers, this.turn.effects));
    if (!this.admission.hasMet(peer.node)) return;
    peer.doubtBelow = hello.doubtBelow;
    if (hello.wantsHello || isNewStart) this.sendHello(peer.node);
  }

  private onVoterMessage(peer: Peer, message: Exclude<Message, { kind: "hello" | "hello-reply" }>): void {
    const { agreement, turn } = this;
    switch (message.kind) {
      case "batch":
        if (this.admission.isVoterUid(message.id.origin)) agreement.addBatch(message.id, message.commands);
        return;
      case "proposal":
      case "ballot": {
        const pullAtMs = turn.nowMs + PULL_AFTER_MS;
        agreement.onSlotMessage({ voter: peer.index, message, pullAtMs, pullDelayMs: PULL_AGAIN_MS }, peer);
        return;
      }
      case "decision":
        agreement.onDecision(message.slot, message.outcome);
        return;
      case "pull-batches":
        this.answerBatches(peer, message.ids);
        return;
      case "pull-slots":
        this.answerSlots(peer, message.slots);
        return;
      case "pull-log":
        if (message.from < this.slots.applied) turn.effects.logRequests.push({ to: peer.node, from: message.from });
        return;
      case "log":
        this.onLog(message.entries);
        return;
      case "status":
        this.onStatus(peer, message);
        return;
      case "read-index":
        if (!this.admission.isAdmitted) return;
        this.send(peer.node, { kind: "read-index-reply", nonce: message.nonce, voted: agreement.voted });
        return;
      case "read-index-reply":
        this.finishRead(this.reads.answer(peer.index, message.nonce, message.voted));
        return;
      default:
        unreachable(message);
    }
  }

  private onStatus(peer: Peer, status: Extract<Message, { kind: "status" }>): void {
    peer.applied = status.applied;
    peer.doubtBelow = status.doubtBelow;
    peer.lag = this.slots.applied - status.applied;
    peer.hasStatus = true;
  }

  // ── repair and catch-up ────────────────────────────────────────────────────────────────────────────────────────────

  private answerBatches(peer: Peer, ids: readonly BatchId[]): void {
    for (const id of ids.slice(0, PULL_IDS_MAX)) {
      const batch = this.pool.get(batchKeyOf(id));
      if (batch !== undefined) this.send(peer.node, { kind: "batch", id, commands: batch.commands });
    }
  }

  private answerSlots(peer: Peer, slots: readonly number[]): void {
    let fromLog: number | undefined;
    for (const at of slots.slice(0, this.config.windowSlots)) {
      const slot = this.slots.peek(at);
      if (slot?.decision !== undefined) {
        this.send(peer.node, { kind: "decision", slot: at, outcome: slot.decision });
      } else if (at < this.slots.applied) {
        fromLog = Math.min(fromLog ?? at, at);
      } else if (slot !== undefined && this.admission.isAdmitted) {
        for (const message of recordOf(slot, this.admission.self.startWrite)) this.send(peer.node, message);
      }
    }
    if (fromLog !== undefined) this.turn.effects.logRequests.push({ to: peer.node, from: fromLog });
  }

  /** Asks whoever named a batch for it: a voter names only what it has. */
  private pullOverdueBatches(): void {
    const { nowMs } = this.turn;
    const wanted = new Map<number, Map<BatchKey, BatchId>>();
    for (const entry of this.slots.takeOverdue(nowMs)) {
      const missing = missingBatches(choiceOf(entry.message), this.pool, this.dedupe);
      wanted.set(entry.voter, new Map([...(wanted.get(entry.voter) ?? []), ...missing]));
      const pullDelayMs = Math.min(PULL_AGAIN_MS_MAX, entry.pullDelayMs * 2);
      this.agreement.onSlotMessage({ ...entry, pullAtMs: nowMs + entry.pullDelayMs, pullDelayMs }, undefined);
    }
    for (const [voter, missing] of wanted) {
      const node = this.config.voters[voter];
      const ids = [...missing.values()].slice(0, PULL_IDS_MAX);
      if (node !== undefined && ids.length > 0) this.send(node, { kind: "pull-batches", ids });
    }
  }

  private catchUp(): void {
    const { nowMs } = this.turn;
    if (nowMs < this.logPullAtMs) return;
    const source = findLogSource(this.slots, this.peers, { nowMs, freshMs: this.pace.votePatienceMs * 2 });
    if (source === undefined) return;
    this.logPullAtMs = nowMs + LOG_PULL_MS;
    this.send(source.node, { kind: "pull-log", from: this.slots.applied });
  }

  private onLog(entries: Extract<Message, { kind: "log" }>["entries"]): void {
    const before = this.slots.applied;
    for (const entry of entries) {
      if (entry.slot !== this.slots.applied) continue;
      batchesOf(entry.outcome).forEach((id, at) => {
        const commands = entry.contents[at];
        if (commands !== undefined) this.agreement.addBatch(id, commands);
      });
      // Adding a batch may already have applied the slot.
      if (entry.slot === this.slots.applied) this.agreement.onDecision(entry.slot, entry.outcome);
    }
    if (this.slots.applied === before) return;
    // Progress: ask for the next chunk at once.
    this.logPullAtMs = this.turn.nowMs;
    this.catchUp();
  }

  // ── reads ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  private startReadRound(): void {
    this.finishRead(this.reads.begin(this.selfIndex, this.agreement.voted));
    this.sendReadIndex();
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

  private createSlots(applied: number, doubtBelow: number): SlotTable {
    const { voters, windowSlots, planted, choices } = this.config;
    const quorum = planted === "quorum-minus-one" ? Math.max(1, this.quorum - 1) : this.quorum;
    const toss = (slot: number, phase: number): 0 | 1 => {
      const fair = coin(this.admission.secret, slot, phase);
      return choices?.coin(slot, phase, fair) ?? fair;
    };
    const rules = { voterCount: voters.length, self: this.selfIndex, quorum, coin: toss, planted };
    return new SlotTable({ applied, windowSlots, doubtBelow, rules, patienceMs: () => this.pace.votePatienceMs });
  }
}
