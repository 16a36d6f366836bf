// Owns: when this node proposes by itself: at once while it convenes or writes alone, after its patience otherwise;
// when it gives slots up that nobody can win (doubt, patience, gaps).
// Does not own: echoes, which never wait (agreement.ts).
import type { Random } from "../../base/random.ts";
import { KiB, MiB } from "../../base/units.ts";
import type { Agreement } from "./agreement.ts";
import type { BatchPool } from "./batch-pool.ts";
import { type ConvenerView, countCertain, highestDoubt, isCaughtUp, pickConvener } from "./convener.ts";
import { NOOP } from "./message.ts";
import type { Pace } from "./pace.ts";
import { recordOf } from "./repair.ts";
import type { Slot } from "./slot.ts";
import type { SlotTable } from "./slot-table.ts";
import type { Turn } from "./turn.ts";

const VALUE_IDS_MAX = 256;
const VALUE_BYTES_MAX = 1 * MiB;
const RESEND_MS_MAX = 1_000;
/**
 * Batches that nobody took are sent again after this time: the first sending may have been lost, and of a batch whose
 * origin is gone this node may hold the only copy.
 */
const BATCH_RESEND_MS = 200;
const BATCH_RESEND_BYTES_MAX = 256 * KiB;

export interface ProposerParts {
  readonly turn: Turn;
  readonly slots: SlotTable;
  readonly pool: BatchPool;
  readonly pace: Pace;
  readonly view: ConvenerView;
  readonly agreement: Agreement;
  readonly random: Random;
  /** P. */
  readonly pipelineSlots: number;
}

export class Proposer {
  private readonly parts: ProposerParts;
  /** How long a batch may wait now before this node proposes it itself; drawn anew after each time it did. */
  private patienceMs: number;
  private proposedAtMs = 0;
  private firings = 0;
  private batchResendAtMs = 0;

  constructor(parts: ProposerParts) {
    this.parts = parts;
    this.patienceMs = parts.pace.proposePatienceMs();
  }

  /** How often this node did by itself what it had waited for others to do. */
  get patienceFirings(): number {
    return this.firings;
  }

  /** All events of a turn are in: the convener proposes what waits, everybody gives up what nobody can win. */
  onTurnEnd(): void {
    const { agreement, pipelineSlots, pool, slots, turn, view } = this.parts;
    const leads = agreement.takeLead();
    if (!view.admission.isAdmitted) return;
    const hasWork = pool.unassignedCount > 0 || this.isListPending;
    if (hasWork && pickConvener(view, slots.active, turn.nowMs) === view.self) this.proposeNext(pipelineSlots);
    else if (leads) this.proposeNext(1);
    this.burnDoubt();
  }

  onTick(): void {
    // What the others have applied comes with their log: asking about each slot, or voting there, would only cost.
    if (!isCaughtUp(this.parts.view, this.parts.turn.nowMs)) return;
    for (const slot of [...this.parts.slots.undecided()]) this.tickSlot(slot);
    this.tickPatience();
    this.onTurnEnd();
  }

  /** Proposes unassigned batches for the next slots while fewer than so many are in flight. */
  private proposeNext(slotsMax: number): void {
    const { agreement, pace, pool, slots, turn } = this.parts;
    while (slots.inFlight < slotsMax && turn.nowMs >= pace.backoffUntilMs) {
      const next = slots.active;
      if (next >= slots.windowEnd || !agreement.mayProposeAt(next)) return;
      const value = pool.nextValue(VALUE_IDS_MAX, VALUE_BYTES_MAX) ?? (this.isListPending ? NOOP : undefined);
      if (value === undefined) return;
      agreement.propose(slots.open(next, turn.nowMs), value);
    }
  }

  /** A new list of voters was decided: slots must pass until it rules, even when nobody has work. */
  private get isListPending(): boolean {
    const { slots, view } = this.parts;
    return view.log.membership.pendingAt(slots.active) !== undefined;
  }

  /**
   * Where the voters alive and not in doubt are fewer than a quorum, no value can win: every voter votes `?` at once,
   * for all such slots of the window together, as soon as anyone has work.
   */
  private burnDoubt(): void {
    const { agreement, pool, slots, turn, view } = this.parts;
    if (slots.inFlight === 0 && pool.unassignedCount === 0 && !this.isListPending) return;
    if (!isCaughtUp(view, turn.nowMs)) return;
    const end = Math.min(slots.windowEnd, highestDoubt(view));
    for (let at = slots.applied; at < end; at++) {
      const list = view.log.membership.rulingAt(at);
      if (!list.has(view.selfUid)) continue;
      if (countCertain(view, at, turn.nowMs) < list.quorum) agreement.voteUnsure(slots.open(at, turn.nowMs));
    }
  }

  private tickSlot(slot: Slot): void {
    const { agreement, turn } = this.parts;
    const { times } = slot;
    agreement.advance(slot);
    if (slot.decision !== undefined) return;
    if (turn.nowMs >= times.patienceAtMs && !slot.hasVoted) this.losePatience(slot);
    if (slot.decision === undefined && turn.nowMs >= times.resendAtMs) this.resend(slot);
  }

  /** Phase 0 takes too long: a gap that nobody proposed for is closed with NOOP, otherwise `?`, which is safe here. */
  private losePatience(slot: Slot): void {
    const { agreement, pace, slots, turn } = this.parts;
    this.firings += 1;
    slot.times.patienceAtMs = turn.nowMs + pace.votePatienceMs;
    const isGap = slot.isUnseen && !slots.hasParked(slot.slot);
    if (isGap && agreement.canPropose(slot)) agreement.propose(slot, NOOP);
    else agreement.voteUnsure(slot);
  }

  /** Says everything about an undecided slot again and asks for what the others have of it. */
  private resend(slot: Slot): void {
    const { random, turn, view } = this.parts;
    const { times } = slot;
    times.resendDelayMs = Math.min(RESEND_MS_MAX, times.resendDelayMs * 2);
    times.resendAtMs = turn.nowMs + times.resendDelayMs * (1 + random.next() / 4);
    for (const message of recordOf(slot, view.admission.self.startWrite)) turn.effects.send("others", message);
    turn.effects.send("others", { kind: "pull-slots", slots: [slot.slot] });
  }

  /** A batch stays unassigned: the convener is slow, dead or never got it. Propose it here. */
  private tickPatience(): void {
    const { pace, pool, slots, turn, view } = this.parts;
    const oldestMs = pool.unassignedCount === 0 ? undefined : pool.oldestUnassignedMs();
    if (oldestMs === undefined || turn.nowMs - Math.max(oldestMs, this.proposedAtMs) < this.patienceMs) return;
    this.firings += 1;
    this.proposedAtMs = turn.nowMs;
    this.patienceMs = pace.proposePatienceMs();
    const convener = pickConvener(view, slots.active, turn.nowMs);
    // While every slot that may be in flight is, nobody can propose: that is not the convener's fault.
    const couldPropose = slots.inFlight < this.parts.pipelineSlots && slots.active < slots.windowEnd;
    if (convener !== view.self && couldPropose) pace.noteConvener(convener, "missed", turn.nowMs);
    this.resendBatches();
    this.proposeNext(this.parts.pipelineSlots);
  }

  /** A peer is gone, perhaps the one that was to pass them on. */
  resendOwnBatches(): void {
    const { pool, turn, view } = this.parts;
    for (const { id, commands } of pool.unassignedBatches()) {
      if (id.origin === view.selfUid) turn.effects.send("others", { kind: "batch", id, commands });
    }
  }

  private resendBatches(): void {
    const { pool, turn } = this.parts;
    if (turn.nowMs < this.batchResendAtMs) return;
    this.batchResendAtMs = turn.nowMs + BATCH_RESEND_MS;
    let bytes = 0;
    for (const { id, commands } of pool.unassignedBatches()) {
      bytes += commands.byteLength;
      if (bytes > BATCH_RESEND_BYTES_MAX) return;
      turn.effects.send("others", { kind: "batch", id, commands });
    }
  }
}
