// Owns: linearizable reads that wait: for a round to start, for its answers, for their slot to be applied.
import type { ReadOutcome } from "./group.ts";

type ReadCallback = (outcome: ReadOutcome) => void;
type ReadRefusal = Extract<ReadOutcome, { kind: "refused" }>;

export const READS_WAITING_MAX = 16_384;
/** Answered in one turn of the event loop; one round can serve all that wait, and votes would wait for as long. */
export const READS_PER_TURN_MAX = 4_096;
const READY: ReadOutcome = { kind: "ready" };

interface Blocked {
  readonly target: number;
  readonly callbacks: ReadCallback[];
}

export class ReadQueue {
  /** Reads in all three places. */
  private size = 0;
  private waiting: ReadCallback[] = [];
  private inRound: ReadCallback[] = [];
  private blocked: Blocked[] = [];
  private appliedSlots = 0;
  /** Some of them are answered in the next turn. */
  private isAnswering = false;
  private readonly nextTurn: (fire: () => void) => void;

  constructor(nextTurn: (fire: () => void) => void) {
    this.nextTurn = nextTurn;
  }

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
    this.appliedSlots = applied;
    if (!this.isAnswering) this.answerSome();
  }

  private answerSome(): void {
    let left = READS_PER_TURN_MAX;
    for (let ready = this.nextReady(); ready !== undefined; ready = this.nextReady()) {
      if (left === 0) {
        this.isAnswering = true;
        this.nextTurn(() => {
          this.isAnswering = false;
          this.answerSome();
        });
        return;
      }
      const callbacks = ready.callbacks.splice(0, left);
      left -= callbacks.length;
      this.size -= callbacks.length;
      for (const callback of callbacks) callback(READY);
    }
  }

  /** A place of reads whose slot is applied. */
  private nextReady(): Blocked | undefined {
    this.blocked = this.blocked.filter(({ callbacks }) => callbacks.length > 0);
    return this.blocked.find(({ target }) => target <= this.appliedSlots);
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
