// Owns: how long to wait before doing something on one's own: patience, back-off after null slots, skipping a convener
// that does nothing. Never matters for safety.
import type { NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";

const PATIENCE_MS_MIN = 10;
const PATIENCE_MS_MAX = 1_000;
/** Shorter than anybody's patience. */
const USUAL_MS_MIN = 4;
const USUAL_MS_MAX = 20;
const BACKOFF_MS_BASE = 10;
const BACKOFF_MS_MAX = 1_000;
/** Slot durations that p99 looks back on. */
const DURATIONS_MAX = 256;
const MISSES_BEFORE_SKIP = 3;
const SKIP_MS = 30_000;
/** 2^k of a back-off stops growing here; the caps are reached before. */
const DOUBLINGS_MAX = 10;

export class Pace {
  /** A value of this node's own is not proposed before this time; echoes never wait. */
  backoffUntilMs = Number.NEGATIVE_INFINITY;
  private nullRow = 0;
  private readonly durations: number[] = [];
  private nextDuration = 0;
  private patience = PATIENCE_MS_MIN;
  private misses = 0;
  private missing: NodeId | undefined;
  private readonly skippedUntil = new Map<NodeId, number>();
  private readonly random: Random;
  private readonly rank: () => number;

  /** `rank` staggers who loses patience first. */
  constructor(random: Random, rank: () => number) {
    this.random = random;
    this.rank = rank;
  }

  /** How long phase 0 of a slot may take before this node votes `?`. */
  get votePatienceMs(): number {
    return this.patience;
  }

  /** How long a slot takes as a rule at most: what did not come by then may not come at all. */
  get usualMs(): number {
    return Math.min(USUAL_MS_MAX, Math.max(USUAL_MS_MIN, this.patience / 4));
  }

  /** How long a batch may stay unassigned before this node proposes it itself. */
  proposePatienceMs(): number {
    const base = (this.rank() + 1) * this.patience * 2 ** Math.min(this.nullRow, DOUBLINGS_MAX);
    return Math.min(PATIENCE_MS_MAX, base) * (1 + this.random.next() / 4);
  }

  /** A slot was decided in phase 0 with a value: the normal case, which alone says what is normal. */
  slotDecided(durationMs: number): void {
    this.nullRow = 0;
    this.durations[this.nextDuration++ % DURATIONS_MAX] = durationMs;
    if (this.nextDuration % 32 !== 0) return;
    const sorted = [...this.durations].sort((a, b) => a - b);
    const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
    this.patience = Math.min(PATIENCE_MS_MAX, Math.max(PATIENCE_MS_MIN, 4 * p99));
  }

  /** A slot was decided null by contention: everybody waits a random time before the next value of its own. */
  slotNull(nowMs: number): void {
    const widest = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_BASE * 2 ** Math.min(this.nullRow, DOUBLINGS_MAX));
    this.nullRow += 1;
    this.backoffUntilMs = nowMs + this.random.next() * widest;
  }

  noteConvener(convener: NodeId, sign: "proposed" | "missed", nowMs: number): void {
    if (sign === "proposed" || this.missing !== convener) this.misses = 0;
    this.missing = convener;
    if (sign === "proposed") return;
    this.misses += 1;
    if (this.misses < MISSES_BEFORE_SKIP) return;
    this.misses = 0;
    this.skippedUntil.set(convener, nowMs + SKIP_MS);
  }

  isSkipped(node: NodeId, nowMs: number): boolean {
    return (this.skippedUntil.get(node) ?? Number.NEGATIVE_INFINITY) > nowMs;
  }
}
