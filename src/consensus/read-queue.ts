// Owns: linearizable reads that wait: for a round to start, for its answers, for their slot to be applied.
import type { ReadOutcome } from "./group.ts";

type ReadCallback = (outcome: ReadOutcome) => void;
type ReadRefusal = Extract<ReadOutcome, { kind: "refused" }>;

export const READS_WAITING_MAX = 16_384;
const READY: ReadOutcome = { kind: "ready" };

export class ReadQueue {
  /** Reads in all three places. */
  private size = 0;
  private waiting: ReadCallback[] = [];
  private inRound: ReadCallback[] = [];
  private blocked: { readonly target: number; readonly callbacks: readonly ReadCallback[] }[] = [];

  add(done: ReadCallback): ReadRefusal | undefined {
    if (this.size >= READS_WAITING_MAX) {
      const reason = `${this.size} reads wait on this node, which is its limit: slow down and retry`;
      return { kind: "refused", code: "E_OVERLOADED", reason };
    }
    this.waiting.push(done);
    this.size += 1;
    return undefined;
  }

  /** Moves all waiting reads into a new round, unless one is open: a round must begin after the reads it serves. */
  beginRound(isRoundOpen: boolean): boolean {
    if (isRoundOpen || this.waiting.length === 0) return false;
    this.inRound = this.waiting;
    this.waiting = [];
    return true;
  }

  roundAnswered(target: number, applied: number): void {
    this.blocked.push({ target, callbacks: this.inRound });
    this.inRound = [];
    this.applied(applied);
  }

  applied(applied: number): void {
    if (this.blocked.length === 0) return;
    const ready = this.blocked.filter((read) => read.target <= applied);
    if (ready.length === 0) return;
    this.blocked = this.blocked.filter((read) => read.target > applied);
    for (const { callbacks } of ready) {
      this.size -= callbacks.length;
      for (const callback of callbacks) callback(READY);
    }
  }

  /**
   * The voters have changed: their quorums count for every read that is not answered yet, so all begin again.
   * `abandonRound` ends the open one.
   */
  restart(abandonRound: () => void): void {
    abandonRound();
    this.waiting = [...this.blocked.flatMap((read) => read.callbacks), ...this.inRound, ...this.waiting];
    this.inRound = [];
    this.blocked = [];
  }

  abandon(reason: string): void {
    const all = [...this.waiting, ...this.inRound, ...this.blocked.flatMap((read) => read.callbacks)];
    this.waiting = [];
    this.inRound = [];
    this.blocked = [];
    this.size = 0;
    for (const callback of all) callback({ kind: "refused", code: "E_UNAVAILABLE", reason });
  }
}
