// Owns: running a replica: gives it events, carries out its effects in their order, groups durable writes, and answers
// callers. One mailbox, one loop: whatever arrives in a turn of the event loop is taken at once, and the turn's
// writes share
// one fsync and its messages one frame. Callback driven throughout, so that the simulator runs it unchanged.
// Does not own: any rule of the protocol (core/), bytes on disk (journal.ts), connections (net).
import { AssertionError } from "../base/assert.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { NodeId, NodeUid } from "../base/ids.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Timer } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import { RepeatFilter } from "../net/core/repeat-filter.ts";
import type { Channel } from "../net/peer-messaging.ts";
import { Batcher, type ProposeCallback } from "./batcher.ts";
import type { Alarm, Apply, Effects, JournalEntry, ReplicaEvent } from "./core/effects.ts";
import type { StoredEntry } from "./core/journal-record.ts";
import { batchKeyOf, type BatchId, type BatchKey, type LogEntry, NULL_OUTCOME, sequenceOf } from "./core/message.ts";
import { decodeMessages } from "./core/message-codec.ts";
import { LAG_SLOTS_READY, type Replica } from "./core/replica.ts";
import { AUDIT_EVERY_SLOTS } from "./core/state-audit.ts";
import type {
  CatchUp,
  ChangeOutcome,
  Group,
  GroupMembership,
  GroupStatus,
  MembershipChange,
  MembershipView,
  ReadOutcome,
} from "./group.ts";
import { GroupCounts } from "./group-counts.ts";
import type { GroupConfig, GroupPorts } from "./group-ports.ts";
import type { Journal } from "./journal.ts";
import { roleOf, viewMembership } from "./membership-view.ts";
import { MembershipChanges } from "./membership-changes.ts";
import { diskFailure, type OpenedVoter, openVoter } from "./open-voter.ts";
import { LogAnswers } from "./log-answers.ts";
import { Outgoing } from "./outgoing.ts";
import { ReadQueue } from "./read-queue.ts";
import { decodeMark, encodeMark } from "./recovery.ts";
import { SnapshotCatchUp } from "./snapshot-catch-up.ts";
import type { ConsensusMark } from "./state-machine.ts";

const TICK_MS_BUSY = 5;
const TICK_MS_IDLE = 50;
/** Decided slots may wait for the next ballot's write, but not in any number. */
const LAZY_ENTRIES_MAX = 512;
/** Nor for long: a node that nobody writes to still records what was decided. */
const LAZY_MS_MAX = 100;
/** A batch waits no longer than this for the vote under way: a slow disk here is no reason for the others to wait. */
const BATCH_HELD_MS_MAX = 3;
const DISPUTED = "the voters disagree about the state: whether this is kept will be known when they agree";
/** The same complaint of the same peer is logged once in this time. */
const ALARM_MS = 30_000;
/** A few of each peer; nodes that are not members may come under any name. */
const ALARM_TOPICS_MAX = 256;

export class GroupDriver implements Group, GroupMembership {
  readonly replica: Replica;
  readonly counts = new GroupCounts();
  private readonly ports: GroupPorts;
  private readonly config: GroupConfig;
  private readonly channel: Channel;
  private readonly journal: Journal;
  /** This start of this voter: its batches and its rows in the store are named by it. */
  readonly origin: { readonly uid: NodeUid; readonly incarnation: number };
  private readonly batcher = new Batcher();
  private readonly reads: ReadQueue;
  private readonly changes: MembershipChanges;
  private readonly snapshots: SnapshotCatchUp;
  private readonly membershipListeners: ((view: MembershipView) => void)[] = [];
  private hasNewMembers = false;
  private readonly said = new RepeatFilter(ALARM_MS, ALARM_TOPICS_MAX);
  /** Why this node ends as soon as that is on disk. */
  private ending: { readonly error: AetherError; readonly ticket: number } | undefined;
  private sequence = 0;
  private queue: JournalEntry[] = [];
  /** When the oldest entry of the queue came. */
  private queuedMs = 0;
  private isQueueUrgent = false;
  private isFlushing = false;
  private flushedMs = 0;
  /** Entries given to the journal since the start, and how many of them are durable. */
  private handedOver = 0;
  private durable = 0;
  private lastWrite: number;
  /** The state through this many slots is durable, and the journal was not told yet. */
  private checkpointed: number | undefined;
  /** Checkpoints that wait for the journal. */
  private gated: { readonly ticket: number; readonly ready: (decision: "write" | "skip") => void }[] = [];
  private readonly outgoing: Outgoing;
  private readonly logAnswers: LogAnswers;
  private isTurnEndDue = false;
  private state: "open" | "running" | "stopped" = "open";
  private ticker: Timer | undefined;
  private tickDelayMs = 0;
  private onIdle: (() => void) | undefined;

  private constructor(ports: GroupPorts, config: GroupConfig, opened: OpenedVoter) {
    this.ports = ports;
    this.config = config;
    this.journal = opened.journal;
    this.replica = opened.replica;
    this.lastWrite = opened.replica.admission.self.startWrite;
    this.origin = { uid: opened.identity.uid, incarnation: opened.incarnation };
    this.channel = ports.messaging.channel("consensus");
    this.reads = new ReadQueue((fire) => ports.clock.nextTurn(() => this.guard(fire)));
    const others = (): readonly NodeId[] => this.replica.peers.others.map((peer) => peer.node);
    this.outgoing = new Outgoing(config.node, others, this.channel, config.observer, (delayMs, flush) => {
      return ports.clock.setTimer(delayMs, () => this.guard(flush));
    });
    this.changes = new MembershipChanges(
      (batch) => this.sendBatch(batch),
      () => this.replica.sight,
    );
    const { clock, random, log, messaging, stateMachine } = ports;
    this.logAnswers = new LogAnswers({
      clock,
      journal: this.journal,
      send: (to, from, entries) => this.sendLog(to, from, entries),
      guard: (act) => this.guard(act),
    });
    this.snapshots = new SnapshotCatchUp({
      clock,
      random: random.fork("snapshots"),
      log,
      messaging,
      stateMachine,
      track: (task) => ports.track?.(task),
      appliedBy: (node) => this.replica.peers.get(node)?.applied ?? 0,
      mayServe: () => this.replica.dispute === undefined,
      isStillWanted: (appliedSlots) => this.state === "running" && this.replica.wantsState(appliedSlots),
      onInstalled: (mark, installed) => this.guard(() => this.install(mark, installed.generation)),
      onDiskFailure: (error) => this.fail(error),
      onGarbage: (from, bytes) => this.noteGarbage(from, bytes),
    });
  }

  /**
   * Reads the disk, applies what was decided, and makes the new start durable; nothing is sent before `start`.
   * @throws AetherError E_DATA_FOREIGN, E_DATA_CORRUPT, E_VERSION, E_DISK
   */
  static async open(ports: GroupPorts, config: GroupConfig): Promise<GroupDriver> {
    const opened = await openVoter(ports, config);
    // Durable since a write whose completion the previous process did not live to see.
    config.observer?.durable(config.node, opened.recovered.ballots, opened.recovered.batches);
    return new GroupDriver(ports, config, opened);
  }

  /**
   * The state machine cannot go on. Where its data is damaged and other voters have it, the next start takes theirs:
   * that is made durable before the node ends.
   */
  stateFailed(error: AetherError): void {
    const isElsewhere = this.replica.voterList.nodes.some((node) => node !== this.config.node);
    if (error.code === "E_DATA_CORRUPT" && isElsewhere && this.state === "running") this.endSetAside(error.message);
    else this.fail(error);
  }

  /** Begins to take part. Peers that are connected already are greeted. */
  start(): void {
    this.state = "running";
    this.ports.stateMachine.gateCheckpoints((ready) => this.whenLogged(ready));
    this.ports.stateMachine.onCheckpoint((appliedSlots) => {
      this.checkpointed = appliedSlots;
      this.guard(() => this.cutJournal());
    });
    this.channel.onMessage((from, payload) => this.guard(() => this.receive(from, payload)));
    this.ports.messaging.onPeer((event) => {
      this.guard(() => this.step({ kind: "peer", node: event.node, state: event.kind }));
    });
    for (const node of this.ports.messaging.connected) this.step({ kind: "peer", node, state: "up" });
    this.tick();
  }

  /** Stops taking part; commands under way end as unknown. Waits for the write under way. */
  async close(): Promise<void> {
    if (this.state === "stopped") return;
    this.stop("the node is stopping");
    await this.snapshots.close();
    if (!this.isFlushing) return;
    await new Promise<void>((resolve) => {
      this.onIdle = resolve;
    });
  }

  propose(command: Uint8Array, done: ProposeCallback): void {
    const refusal = this.refusal();
    if (refusal !== undefined) {
      this.ports.clock.defer(() => done(refusal));
      return;
    }
    if (!this.batcher.add(command, done)) {
      const reason = `${this.batcher.pending} commands are under way on this node, its limit: slow down and retry`;
      this.ports.clock.defer(() => done({ kind: "refused", code: "E_OVERLOADED", reason }));
      return;
    }
    this.endTurnSoon();
  }

  readBarrier(done: (outcome: ReadOutcome) => void): void {
    const refusal = this.refusal() ?? this.reads.add(done);
    if (refusal === undefined) this.endTurnSoon();
    else this.ports.clock.defer(() => done(refusal));
  }

  /** Commands accepted on this node and not answered yet. */
  get pendingCommands(): number {
    return this.batcher.pending;
  }

  /** The oldest slot that this node can give to others. */
  get logStart(): number {
    return this.journal.logStart;
  }

  /** How often this node has lost patience since it was opened: with a slot, or with whoever is to propose. */
  get patienceFirings(): number {
    return this.replica.patienceFirings;
  }

  /** The number of the last durable write that this process knows of. */
  get journaledWrites(): number {
    return this.lastWrite;
  }

  status(): GroupStatus {
    const nowMs = this.ports.clock.nowMs();
    const { hasQuorum, alive, need } = this.replica.visibility(nowMs);
    const notReadyReason = this.state === "running" ? this.replica.notReadyReason(nowMs) : "the node is not running";
    return {
      isReady: notReadyReason === undefined,
      hasQuorum,
      ...(notReadyReason === undefined ? {} : { notReadyReason }),
      applied: this.replica.slots.applied,
      decided: this.replica.slots.decided,
      convener: this.replica.admission.isAdmitted ? this.replica.convener() : undefined,
      quorum: { need, have: alive, canLose: Math.max(0, alive - need) },
      role: roleOf(this.replica),
      catchUp: this.catchUp(nowMs),
    };
  }

  private catchUp(nowMs: number): CatchUp | undefined {
    const slotsBehind = this.replica.slotsBehind(nowMs);
    const snapshot = this.snapshots.progress;
    if (snapshot !== undefined) {
      const { from, bytes, bytesEstimated } = snapshot;
      return { kind: "snapshot", from, slotsBehind, bytesReceived: bytes, bytesTotal: bytesEstimated };
    }
    const source = this.replica.peers.furthest(nowMs);
    if (source === undefined || slotsBehind <= LAG_SLOTS_READY) return undefined;
    return { kind: "log", from: source.node, slotsBehind, bytesReceived: 0, bytesTotal: undefined };
  }

  membership(): MembershipView {
    return viewMembership(this.replica);
  }

  onMembership(listener: (view: MembershipView) => void): void {
    this.membershipListeners.push(listener);
  }

  changeMembership(change: MembershipChange, done: (outcome: ChangeOutcome) => void): void {
    this.ports.clock.defer(() => {
      const refusal = this.refusal();
      if (refusal !== undefined) done(refusal);
      else this.guard(() => this.changes.start(change, done));
    });
  }

  private refusal(): Extract<ReadOutcome, { kind: "refused" }> | undefined {
    if (this.state !== "running" || !this.replica.admission.isAdmitted || this.replica.dispute !== undefined) {
      const { admission, dispute } = this.replica;
      const reason = admission.waitingFor() ?? dispute ?? "the node is not running";
      return { kind: "refused", code: "E_UNAVAILABLE", reason };
    }
    const { hasQuorum, alive, need } = this.replica.visibility(this.ports.clock.nowMs());
    if (hasQuorum) return undefined;
    return { kind: "refused", code: "E_NO_QUORUM", reason: `this node sees ${alive} voters, a quorum is ${need}` };
  }

  // ── events in ──────────────────────────────────────────────────────────────────────────────────────────────────────

  private receive(from: NodeId, payload: Uint8Array): void {
    const messages = decodeMessages(payload);
    if (messages === undefined) {
      this.noteGarbage(from, payload.byteLength);
      this.channel.refuse(from, "this is no message of consensus");
      return;
    }
    for (const message of messages) this.step({ kind: "message", from, message });
  }

  private noteGarbage(from: NodeId, bytes: number): void {
    this.counts.refusedMessages += 1;
    this.warnOnce(`garbage/${from}`, { event: "consensus.payload_refused", from, bytes });
  }

  private step(event: ReplicaEvent): void {
    if (this.state !== "running") return;
    const effects = this.replica.step(event, this.ports.clock.nowMs());
    if (this.replica.dispute !== undefined) this.reads.abandon(this.replica.dispute);
    this.carryOut(effects);
    if (event.kind !== "turn-end") this.endTurnSoon();
  }

  private tick(): void {
    if (this.state !== "running") return;
    this.step({ kind: "tick" });
    this.changes.settle();
    this.endWhenRemoved();
    const isOverdue = this.queue.length > 0 && this.ports.clock.nowMs() - this.queuedMs > LAZY_MS_MAX;
    if (isOverdue) this.isQueueUrgent = true;
    this.scheduleTick();
  }

  private scheduleTick(): void {
    this.ticker?.cancel();
    this.tickDelayMs = this.replica.hasWork ? TICK_MS_BUSY : TICK_MS_IDLE;
    this.ticker = this.ports.clock.setTimer(this.tickDelayMs, () => this.guard(() => this.tick()));
  }

  private endTurnSoon(): void {
    if (this.isTurnEndDue) return;
    this.isTurnEndDue = true;
    this.ports.clock.defer(() => this.guard(() => this.endTurn()));
  }

  /** Everything of this turn has arrived: batch, propose, then let writes and messages leave together. */
  private endTurn(): void {
    this.isTurnEndDue = false;
    if (this.state !== "running") return;
    this.sendBatches();
    if (this.reads.beginRound(this.replica.hasOpenRead)) this.step({ kind: "read" });
    this.step({ kind: "turn-end" });
    this.flush();
    this.outgoing.flush();
    this.tellMembership();
    if (this.tickDelayMs === TICK_MS_IDLE && this.replica.hasWork) this.scheduleTick();
  }

  private sendBatches(): void {
    if (this.isVoteComing) return;
    for (;;) {
      const batch = this.batcher.take(() => batchKeyOf(this.nextBatchId()));
      if (batch === undefined) return;
      this.counts.batches += 1;
      this.counts.batchCommands += batch.count;
      this.sendBatch(batch.commands);
    }
  }

  /** A vote for the convener is being written: what is handed in meanwhile leaves in its frame. */
  private get isVoteComing(): boolean {
    if (!this.isFlushing || this.replica.convener() === this.config.node) return false;
    return this.ports.clock.nowMs() - this.flushedMs < BATCH_HELD_MS_MAX;
  }

  private nextBatchId(): BatchId {
    return { origin: this.origin.uid, incarnation: this.origin.incarnation, sequence: this.sequence + 1 };
  }

  private sendBatch(commands: Uint8Array): BatchKey {
    const id = this.nextBatchId();
    this.sequence += 1;
    this.step({ kind: "batch", id, commands });
    return batchKeyOf(id);
  }

  // ── members ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private tellMembership(): void {
    if (!this.hasNewMembers) return;
    this.hasNewMembers = false;
    const view = this.membership();
    for (const listener of this.membershipListeners) listener(view);
  }

  private endWhenRemoved(): void {
    const reason = this.state === "running" ? this.replica.removal : undefined;
    if (reason !== undefined) this.endAfter({ kind: "removed", reason }, new AetherError("E_REMOVED", reason));
  }

  /** The node ends, but first it makes sure that its next start knows why. */
  private endAfter(entry: Extract<JournalEntry, { kind: "removed" | "diverged" }>, error: AetherError): void {
    if (this.ending !== undefined) return;
    this.ports.log.error({ event: "consensus.ending", code: error.code, reason: error.message });
    this.step({ kind: "ending", entry });
    this.ending = { error, ticket: this.handedOver + this.queue.length };
  }

  // ── effects out: persist, send, apply, reply ───────────────────────────────────────────────────────────────────────

  private carryOut(effects: Effects): void {
    if (this.queue.length === 0 && effects.persist.length > 0) this.queuedMs = this.ports.clock.nowMs();
    for (const entry of effects.persist) this.queue.push(entry);
    this.isQueueUrgent ||= effects.isPersistUrgent;
    for (const send of effects.sends) this.outgoing.add(send);
    for (const request of effects.logRequests) this.logAnswers.ask(request);
    for (const decision of effects.decisions) this.noteDecision(decision);
    for (const apply of effects.applies) this.apply(apply);
    if (effects.hasNewList) this.reads.restart(() => this.replica.abandonReads());
    this.endSlots(effects.applies.at(-1));
    this.carryOutChanges(effects);
    if (effects.snapshotFrom !== undefined) this.snapshots.want(effects.snapshotFrom);
    for (const target of effects.readTargets) this.reads.roundAnswered(target, this.replica.slots.applied);
    for (const alarm of effects.alarms) this.raiseAlarm(alarm);
    if (effects.refused !== undefined) this.fail(new AetherError(effects.refused.code, effects.refused.message));
    if (effects.diverged !== undefined) this.endSetAside(effects.diverged);
  }

  private carryOutChanges(effects: Effects): void {
    this.hasNewMembers ||= effects.hasNewMembers;
    if (effects.changes.length === 0) return;
    const nowMs = this.ports.clock.nowMs();
    const isConvener = this.replica.convener() === this.config.node;
    // Not inside this step: proposing is another one.
    this.ports.clock.defer(() => {
      this.guard(() => {
        if (this.refusal() !== undefined) return;
        for (const change of effects.changes) this.changes.ask(change, isConvener, nowMs);
      });
    });
  }

  private endSetAside(reason: string): void {
    const message = `${reason}: this node stops; its next start takes the state of the others instead`;
    this.endAfter({ kind: "diverged", reason }, new AetherError("E_DATA_CORRUPT", message));
  }

  private apply(apply: Apply): void {
    const { slot, outcome, batches } = apply;
    const { stateMachine } = this.ports;
    this.logAnswers.applied(apply);
    for (const batch of batches) {
      if (batch.verdict !== undefined) {
        this.changes.decided(batch.key, batch.verdict);
        continue;
      }
      const results = stateMachine.applyBatch(batch.commands);
      if (this.replica.dispute !== undefined) this.batcher.abandonWhere((key) => key === batch.key, DISPUTED);
      else if (this.batcher.answer(batch.key, results)) {
        this.config.observer?.acknowledged(this.config.node, slot, batch.id);
      }
    }
    this.config.observer?.applied(
      this.config.node,
      slot,
      outcome,
      batches.map((batch) => batch.id),
      stateMachine.stateHash,
    );
    this.compareState(slot);
  }

  /** Nodes compare their states at the same slots. */
  private compareState(slot: number): void {
    if ((slot + 1) % AUDIT_EVERY_SLOTS !== 0) return;
    this.step({ kind: "state-hash", slot, hash: this.ports.stateMachine.stateHash });
  }

  /** The replica's dedupe table is that of the last slot it applied: only there can a checkpoint be taken. */
  private endSlots(last: Apply | undefined): void {
    if (last === undefined) return;
    const applied = last.slot + 1;
    const { log } = this.replica;
    const kept = this.config.planted === "snapshot-without-dedupe" ? log.withoutBatches() : log;
    this.ports.stateMachine.endSlot(last.slot, () => encodeMark(applied, kept));
    if (this.config.planted === "cut-before-checkpoint") this.checkpointed = applied;
    this.reads.applied(applied);
  }

  private noteDecision({ slot, outcome, phase }: Effects["decisions"][number]): void {
    this.config.observer?.decided(this.config.node, slot, outcome, phase);
    this.counts.noteDecision(phase === "told" ? "told" : "voted", outcome === NULL_OUTCOME ? "null" : "value");
    if (phase !== "told" && phase > 0) this.counts.latePhases += 1;
  }

  /** The state of another node is this node's from now on; its log goes on from there. */
  private install(mark: ConsensusMark, generation: number): void {
    const { applied, log } = decodeMark(mark);
    this.config.observer?.installed(this.config.node, applied, this.ports.stateMachine.stateHash);
    this.step({ kind: "installed", applied, log, generation });
    const reason = "this node has fetched the state of another one: whether this is in it is not known here";
    const ran = (key: BatchKey): boolean =>
      this.replica.log.covers({ ...this.nextBatchId(), sequence: sequenceOf(key) });
    this.batcher.abandonWhere(ran, reason);
    this.changes.abandon(reason);
    this.reads.applied(this.replica.slots.applied);
    this.endTurnSoon();
  }

  private sendLog(to: NodeId, from: number, entries: readonly LogEntry[]): void {
    this.outgoing.add({ to, message: { kind: "log", from, entries }, urgency: "now" });
    this.endTurnSoon();
  }

  /** Group commit: one flush in flight, the next takes everything queued meanwhile. */
  private flush(): void {
    const isDue = this.isQueueUrgent || this.queue.length >= LAZY_ENTRIES_MAX;
    if (this.isFlushing || !isDue || this.queue.length === 0) return;
    const entries = this.journal.toStored(this.queue);
    this.handedOver += this.queue.length;
    const ticket = this.handedOver;
    this.queue = [];
    this.isQueueUrgent = false;
    this.isFlushing = true;
    const proposeBelow = this.replica.proposeBelow;
    const synced = this.journal.decidedSlots;
    const startedMs = this.ports.clock.nowMs();
    this.flushedMs = startedMs;
    this.journal.append({ proposeBelow, promises: this.replica.peers.promises(), entries }, (writeNumber, failure) => {
      this.guard(() => {
        this.isFlushing = false;
        this.onIdle?.();
        if (failure !== undefined) this.fail(diskFailure(failure));
        if (this.state !== "running") return;
        this.durable = ticket;
        this.lastWrite = writeNumber;
        this.replica.synced = synced;
        this.noteLogStart();
        this.noteWrite(this.ports.clock.nowMs() - startedMs);
        this.noteDurable(entries);
        this.step({ kind: "written", ticket, writeNumber, proposeBelow });
        this.openGates();
        if (this.ending !== undefined && this.ending.ticket <= ticket) this.fail(this.ending.error);
      });
    });
    this.cutJournal();
  }

  /** With nothing queued, the journal knows of every slot that was applied: the batches that ran are those it named. */
  private cutJournal(): void {
    const { checkpointed } = this;
    if (checkpointed === undefined || this.queue.length > 0 || this.state !== "running") return;
    this.checkpointed = undefined;
    const hasRun = (id: BatchId): boolean => this.replica.log.covers(id);
    const behind = this.replica.peers.slowest(this.ports.clock.nowMs(), this.journal.logStart);
    const pinned = Math.min(behind, this.snapshots.pinned);
    this.journal.cut({ applied: checkpointed, pinned, hasRun }, (failure) => {
      if (failure !== undefined) this.fail(diskFailure(failure));
    });
    this.noteLogStart();
    this.snapshots.logBegins(this.journal.logStart);
  }

  private noteLogStart(): void {
    this.replica.logStart = this.journal.logStart;
  }

  private noteWrite(ms: number): void {
    this.counts.noteWrite(ms);
    this.ports.metrics?.writeSeconds.observe(ms / SECOND_MS);
  }

  private noteDurable(entries: readonly StoredEntry[]): void {
    if (this.config.observer === undefined) return;
    const holders = entries.filter((entry) => entry.kind === "ballot" || entry.kind === "decided");
    this.config.observer.durable(
      this.config.node,
      holders.flatMap((entry) => (entry.kind === "ballot" ? [entry.ballot] : [])),
      holders.flatMap((entry) => entry.batches.map((batch) => batchKeyOf(batch.id))),
    );
  }

  /** A checkpoint must not run ahead of the journal: it waits until every slot applied so far is written there. */
  private whenLogged(ready: (decision: "write" | "skip") => void): void {
    if (this.state !== "running") {
      ready("skip");
      return;
    }
    this.gated.push({ ticket: this.handedOver + this.queue.length, ready });
    this.openGates();
    if (this.gated.length === 0) return;
    this.isQueueUrgent = true;
    this.endTurnSoon();
  }

  private openGates(): void {
    const open = this.gated.filter((gate) => gate.ticket <= this.durable);
    this.gated = this.gated.filter((gate) => gate.ticket > this.durable);
    for (const gate of open) gate.ready("write");
  }

  private raiseAlarm(alarm: Alarm): void {
    switch (alarm.kind) {
      case "contradiction":
        this.warnOnce(`contradiction/${alarm.from}`, {
          event: "consensus.contradiction",
          from: alarm.from,
          slot: alarm.slot,
        });
        return;
      case "refused":
        this.warnOnce(`refused/${alarm.by}`, {
          event: "consensus.voter_refused",
          by: alarm.by,
          code: alarm.refusal.code,
          reason: alarm.refusal.message,
        });
        return;
    }
  }

  private warnOnce(topic: string, fields: Parameters<Log["warn"]>[0]): void {
    if (this.said.shouldSay(topic, this.ports.clock.nowMs())) this.ports.log.warn(fields);
  }

  // ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** An assertion anywhere below is our bug: the node stops rather than act on a state it does not understand. */
  private guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.fail(error instanceof AssertionError ? broken(error) : toAetherError(error));
    }
  }

  private fail(error: AetherError): void {
    if (this.state === "stopped") return;
    this.stop(error.message);
    this.ports.onFatal(error);
  }

  private stop(reason: string): void {
    this.state = "stopped";
    this.ticker?.cancel();
    this.outgoing.close();
    this.logAnswers.close();
    this.batcher.abandon(reason);
    this.changes.abandon(reason);
    this.reads.abandon(reason);
    for (const gate of this.gated.splice(0)) gate.ready("skip");
  }
}

function broken(error: AssertionError): AetherError {
  return new AetherError("E_INTERNAL", `broken invariant: ${error.message}; please report it with this node's log`, {
    cause: error,
  });
}
