// Owns: when this node beats, when it takes the leadership, and whether it may act as the leader now.
// Does not own: the transactions. Safety is in their compares (C12: one holder per epoch, no write of another epoch is
// accepted); all times here are patience, by this node's own monotonic clock.
import { assert } from "../../../base/assert.ts";
import { SECOND_MS } from "../../../base/units.ts";
import type { LeaderRow, NodeLife } from "../../core/rows.ts";

export interface LeadershipConfig {
  readonly self: NodeLife;
  readonly beatEveryMs: number;
  /** The rows must stand still this long in this node's own applied state before it takes over. */
  readonly patienceMs: number;
  /** Added to the patience per rank. */
  readonly rankStepMs: number;
  /** A holder whose beat was not acknowledged for this long stops acting. Below `patienceMs`. */
  readonly giveUpMs: number;
}

export const LEADERSHIP_DEFAULTS = {
  beatEveryMs: SECOND_MS,
  patienceMs: 3 * SECOND_MS,
  rankStepMs: 500,
  giveUpMs: 2_500,
} as const;

/** The two rows as this node has applied them. */
export interface LeaderRows {
  /** Undefined without a row, and when what it says cannot be read: then nobody holds it. */
  readonly leader: LeaderRow | undefined;
  /** 0 when there is no row, as in a compare. */
  readonly leaderModRevision: number;
  readonly beatModRevision: number;
  readonly beatCount: number;
}

export type LeadershipAction =
  | { readonly kind: "wait" }
  | { readonly kind: "beat"; readonly epoch: number; readonly count: number; readonly leaderModRevision: number }
  | {
      readonly kind: "take";
      readonly epoch: number;
      /** What both rows must still be. */
      readonly leaderModRevision: number;
      readonly beatModRevision: number;
    };

const NO_ROWS: LeaderRows = { leader: undefined, leaderModRevision: 0, beatModRevision: 0, beatCount: 0 };

/** Observes rows and time, and says what to do next. */
export class Leadership {
  private readonly config: LeadershipConfig;
  private rows: LeaderRows = NO_ROWS;
  /** The last one that could be read. */
  private latest: LeaderRow | undefined;
  /** Since when the rows have not changed while this node could see changes; undefined while it cannot. */
  private stillSinceMs: number | undefined;
  private ackedBeatSentAtMs: number | undefined;
  private rank: number | undefined;

  constructor(config: LeadershipConfig) {
    this.config = config;
  }

  /**
   * Position among the sorted voters: the lowest acts first, so that they do not all try at once. Undefined for a node
   * that is no voter: only voters lead, because any other member may be far behind.
   */
  setRank(rank: number | undefined): void {
    this.rank = rank;
  }

  /** A node that is cut off or catching up sees no change where there may be many: patience counts only while ready. */
  setReady(isReady: boolean, nowMs: number): void {
    if (!isReady) this.stillSinceMs = undefined;
    else this.stillSinceMs ??= nowMs;
  }

  /** Takes what the store shows. A view behind what this node itself has written changes nothing. */
  observe(rows: LeaderRows, nowMs: number): void {
    if (revisionOf(rows) <= revisionOf(this.rows)) return;
    this.checkSuccession(rows);
    if (this.stillSinceMs !== undefined) this.stillSinceMs = nowMs;
    this.latest = rows.leader ?? this.latest;
    this.rows = rows;
  }

  /** A beat or a take that was sent at `sentAtMs` is applied. */
  acknowledge(rows: LeaderRows, sentAtMs: number, nowMs: number): void {
    this.observe(rows, nowMs);
    if (this.isMine()) this.ackedBeatSentAtMs = Math.max(this.ackedBeatSentAtMs ?? sentAtMs, sentAtMs);
  }

  next(nowMs: number): LeadershipAction {
    const { rank, stillSinceMs } = this;
    if (stillSinceMs === undefined || rank === undefined) return { kind: "wait" };
    if (this.isMine()) return this.nextAsHolder(nowMs);
    return nowMs - stillSinceMs >= this.patienceMs(rank) ? this.take() : { kind: "wait" };
  }

  /** Whether this node may act as the leader now. */
  isLeader(nowMs: number): boolean {
    const sentAtMs = this.ackedBeatSentAtMs;
    return this.isMine() && sentAtMs !== undefined && nowMs - sentAtMs < this.config.giveUpMs;
  }

  /** The row to compare in every transaction of the leader. */
  get leaderModRevision(): number {
    return this.rows.leaderModRevision;
  }

  /** The leader as far as this node knows; undefined while there is none or it has been still for too long. */
  current(nowMs: number): LeaderRow | undefined {
    const isStale = this.stillSinceMs === undefined || nowMs - this.stillSinceMs >= this.config.patienceMs;
    return isStale ? undefined : this.rows.leader;
  }

  private nextAsHolder(nowMs: number): LeadershipAction {
    const sentAtMs = this.ackedBeatSentAtMs;
    const { leader, leaderModRevision, beatCount } = this.rows;
    const isDue = sentAtMs === undefined || nowMs - sentAtMs >= this.config.beatEveryMs;
    if (leader === undefined || !isDue) return { kind: "wait" };
    return { kind: "beat", epoch: leader.epoch, count: beatCount + 1, leaderModRevision };
  }

  private take(): LeadershipAction {
    const { leader, leaderModRevision, beatModRevision } = this.rows;
    // Each epoch took a revision of its own, so none was higher than the one at which a row that cannot be read came.
    return { kind: "take", epoch: (leader?.epoch ?? leaderModRevision) + 1, leaderModRevision, beatModRevision };
  }

  private patienceMs(rank: number): number {
    const { self, rankStepMs, patienceMs } = this.config;
    const holder = this.rows.leader?.holder;
    if (holder === undefined) return rank * rankStepMs;
    // An earlier life of this node holds it, and that one is over.
    if (holder.node === self.node) return 0;
    return patienceMs + rank * rankStepMs;
  }

  private checkSuccession({ leader: after, leaderModRevision }: LeaderRows): void {
    const before = this.latest;
    if (before === undefined) return;
    assert(leaderModRevision > 0, "C12: the row of the leader is never deleted");
    if (after === undefined) return;
    assert(after.epoch >= before.epoch, "C12: the epoch of the leader never falls");
    const isSame = isSameLife(before.holder, after.holder);
    if (after.epoch === before.epoch) assert(isSame, "C12: one holder per epoch");
  }

  private isMine(): boolean {
    const holder = this.rows.leader?.holder;
    return holder !== undefined && isSameLife(holder, this.config.self);
  }
}

function isSameLife(a: NodeLife, b: NodeLife): boolean {
  return a.node === b.node && a.uid === b.uid && a.incarnation === b.incarnation;
}

function revisionOf(rows: LeaderRows): number {
  return Math.max(rows.leaderModRevision, rows.beatModRevision);
}
