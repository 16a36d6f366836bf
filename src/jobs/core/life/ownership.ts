// Owns: how long this node may act for the jobs that it owns, and which other nodes' jobs may be taken from them.
// Does not own: the transactions (ownership-service.ts, take-over.ts). That no two nodes own a job is in their
// compares; that a node which stood still does nothing more in its old jobs' name is in the times here: a node may act
// for `validMs` from *sending* its last beat that came through, others wait `patienceMs`, which is more, from *seeing*
// it. All times are by monotonic clocks, which are assumed to go at about the same speed.
import type { NodeId } from "../../../base/ids.ts";
import { SECOND_MS } from "../../../base/units.ts";

export interface OwnershipConfig {
  readonly beatEveryMs: number;
  /** How long a beat lets its node act, from when it was sent. Below `patienceMs`. */
  readonly validMs: number;
  /** How long a node must be suspected by a majority, and its beat stand still, until its jobs go to others. */
  readonly patienceMs: number;
}

export const OWNERSHIP_DEFAULTS: OwnershipConfig = {
  beatEveryMs: 500,
  validMs: 1_500,
  patienceMs: 2 * SECOND_MS,
};

interface SeenBeat {
  readonly modRevision: number;
  stillSinceMs: number;
}

export class Ownership {
  private readonly config: OwnershipConfig;
  private readonly seen = new Map<NodeId, SeenBeat>();
  private ackedSentAtMs: number | undefined;
  /** Since when this node could see beats change; undefined while it cannot. */
  private readySinceMs: number | undefined;

  constructor(config: OwnershipConfig) {
    this.config = config;
  }

  /** The beat that was sent then is in the store. */
  acknowledge(sentAtMs: number): void {
    this.ackedSentAtMs = Math.max(this.ackedSentAtMs ?? sentAtMs, sentAtMs);
  }

  /** Others took this node for dead: what it may do begins anew with its next beat. */
  loseAll(): void {
    this.ackedSentAtMs = undefined;
  }

  /** Until when this node may act for its jobs; in the past when it may not. */
  validUntilMs(): number {
    return this.ackedSentAtMs === undefined ? Number.NEGATIVE_INFINITY : this.ackedSentAtMs + this.config.validMs;
  }

  isBeatDue(nowMs: number): boolean {
    return this.ackedSentAtMs === undefined || nowMs - this.ackedSentAtMs >= this.config.beatEveryMs;
  }

  /** A node that is cut off or catching up sees beats stand still that do not. */
  setReady(isReady: boolean, nowMs: number): void {
    if (!isReady) this.readySinceMs = undefined;
    else this.readySinceMs ??= nowMs;
  }

  /** The beat of another node as this one has applied it. */
  observe(node: NodeId, modRevision: number, nowMs: number): void {
    if (this.seen.get(node)?.modRevision === modRevision) return;
    this.seen.set(node, { modRevision, stillSinceMs: nowMs });
  }

  /** Whether a node's jobs may go to others. `extraMs`: so that not all nodes do it at once. */
  mayTakeFrom(node: NodeId, suspectedForMs: number | undefined, nowMs: number, extraMs: number): boolean {
    const beat = this.seen.get(node);
    if (beat === undefined || this.readySinceMs === undefined || suspectedForMs === undefined) return false;
    const stillForMs = nowMs - Math.max(beat.stillSinceMs, this.readySinceMs);
    return Math.min(stillForMs, suspectedForMs) >= this.config.patienceMs + extraMs;
  }
}
