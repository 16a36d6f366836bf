// Owns: the slots around the window, and the messages about them that wait for batches.
// C7  Slots are applied in order, each once; `applied` never goes back.
import type { BatchKey, Message } from "./message.ts";
import type { Voter } from "./membership.ts";
import { Slot, type SlotRules } from "./slot.ts";

const RESEND_MS_FIRST = 50;

/** A message that names a value whose batches are not all here: the same as a slower network, so it is safe. */
export interface Parked {
  readonly voter: Voter;
  readonly message: Extract<Message, { kind: "proposal" | "ballot" }>;
  /** When its batches are asked for, again if they did not come. */
  readonly pullAtMs: number;
  readonly pullDelayMs: number;
}

export class SlotTable {
  /** Slots [0, applied) are applied. */
  applied: number;
  /** One above the highest slot that anybody is known to work on. */
  active: number;
  /** One above the highest slot known to be decided. */
  decided: number;
  /** Undecided slots in [applied, active). */
  inFlight = 0;
  /** The state here is not to be believed: no slot counts until another one is installed. */
  isFrozen: boolean;
  /** Told of each new slot, before anything counts in it. */
  onCreated: (slot: Slot) => void = () => undefined;
  private readonly slots = new Map<number, Slot>();
  private readonly parked = new Map<number, Parked[]>();
  private readonly missing = new Map<BatchKey, Set<number>>();
  private readonly rulesOf: (slot: number) => SlotRules;
  private readonly windowSlots: number;
  /** D: undecided slots below it are in doubt. */
  private readonly doubtBelow: number;
  private readonly patienceMs: () => number;

  constructor(options: {
    readonly applied: number;
    readonly isFrozen: boolean;
    /** The voters of a slot below the window's end are known. */
    readonly rulesOf: (slot: number) => SlotRules;
    readonly windowSlots: number;
    readonly doubtBelow: number;
    readonly patienceMs: () => number;
  }) {
    this.isFrozen = options.isFrozen;
    this.applied = options.applied;
    this.active = options.applied;
    this.decided = options.applied;
    this.rulesOf = options.rulesOf;
    this.windowSlots = options.windowSlots;
    this.doubtBelow = options.doubtBelow;
    this.patienceMs = options.patienceMs;
  }

  /** Ballots count only below this slot: nobody ever counts a quorum of a voter list it does not know. */
  get windowEnd(): number {
    return this.isFrozen ? this.applied : this.applied + this.windowSlots;
  }

  peek(slot: number): Slot | undefined {
    return this.slots.get(slot);
  }

  /**
   * The slot, which becomes active, and with it every one below: a gap must be closed before anything above it can
   * apply.
   */
  open(slot: number, nowMs: number): Slot {
    for (let below = this.active; below <= slot; below++) this.create(below, nowMs);
    this.active = Math.max(this.active, slot + 1);
    return this.slots.get(slot) ?? this.create(slot, nowMs);
  }

  /** Undecided slots, lowest first. */
  *undecided(): IterableIterator<Slot> {
    for (let at = this.applied; at < this.active; at++) {
      const slot = this.slots.get(at);
      if (slot !== undefined && slot.decision === undefined) yield slot;
    }
  }

  markDecided(slot: Slot): void {
    this.inFlight -= 1;
    this.decided = Math.max(this.decided, slot.slot + 1);
  }

  /** The slot is applied. Some decided slots stay in memory to answer voters that are a little behind. */
  advanceApplied(): void {
    this.parked.delete(this.applied);
    this.forgetMissing(this.applied);
    this.slots.delete(this.applied - 2 * this.windowSlots);
    this.applied += 1;
    this.active = Math.max(this.active, this.applied);
    this.decided = Math.max(this.decided, this.applied);
  }

  park(slot: number, entry: Parked, missing: readonly BatchKey[]): void {
    const waiting = this.parked.get(slot) ?? [];
    const isRepeat = waiting.some(
      (other) => other.voter.uid === entry.voter.uid && isSameKind(other.message, entry.message),
    );
    if (!isRepeat) waiting.push(entry);
    this.parked.set(slot, waiting);
    for (const key of missing) this.missing.set(key, (this.missing.get(key) ?? new Set()).add(slot));
  }

  /** The state of another node was installed: slots [0, applied) are in it. Gives those that were not applied here. */
  jump(applied: number): readonly Slot[] {
    const passed: Slot[] = [];
    for (const [at, slot] of this.slots) {
      if (at >= applied) continue;
      if (at >= this.applied) passed.push(slot);
      if (slot.decision === undefined) this.inFlight -= 1;
      this.slots.delete(at);
    }
    for (const at of [...this.parked.keys()]) {
      if (at >= applied) continue;
      this.parked.delete(at);
      this.forgetMissing(at);
    }
    this.isFrozen = false;
    this.applied = applied;
    this.active = Math.max(this.active, applied);
    this.decided = Math.max(this.decided, applied);
    return passed;
  }

  /** The messages that may count now that this batch is here or has run. */
  unpark(key: BatchKey): readonly Parked[] {
    if (this.missing.size === 0) return [];
    const slots = this.missing.get(key);
    if (slots === undefined) return [];
    this.missing.delete(key);
    const ready: Parked[] = [];
    for (const slot of slots) {
      ready.push(...(this.parked.get(slot) ?? []));
      this.parked.delete(slot);
    }
    return ready;
  }

  hasParked(slot: number): boolean {
    return (this.parked.get(slot)?.length ?? 0) > 0;
  }

  /** Takes out the messages whose batches are overdue; some may be covered by now. */
  takeOverdue(nowMs: number): readonly Parked[] {
    const overdue: Parked[] = [];
    for (const [slot, entries] of this.parked) {
      if (!entries.some((entry) => entry.pullAtMs <= nowMs)) continue;
      overdue.push(...entries.filter((entry) => entry.pullAtMs <= nowMs));
      this.parked.set(
        slot,
        entries.filter((entry) => entry.pullAtMs > nowMs),
      );
    }
    return overdue;
  }

  /** Nobody waits for batches of this slot any more. */
  private forgetMissing(slot: number): void {
    for (const [key, slots] of this.missing) {
      if (slots.delete(slot) && slots.size === 0) this.missing.delete(key);
    }
  }

  private create(slot: number, nowMs: number): Slot {
    const known = this.slots.get(slot);
    if (known !== undefined) return known;
    const times = {
      firstSeenMs: nowMs,
      patienceAtMs: nowMs + this.patienceMs(),
      resendAtMs: nowMs + RESEND_MS_FIRST,
      resendDelayMs: RESEND_MS_FIRST,
    };
    const created = new Slot(slot, this.rulesOf(slot), slot < this.doubtBelow, times);
    this.slots.set(slot, created);
    this.inFlight += 1;
    this.onCreated(created);
    return created;
  }
}

function isSameKind(a: Parked["message"], b: Parked["message"]): boolean {
  if (a.kind === "proposal" || b.kind === "proposal") return a.kind === b.kind;
  return a.ballot.kind === b.ballot.kind && a.ballot.phase === b.ballot.phase;
}
