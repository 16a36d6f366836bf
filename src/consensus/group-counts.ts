// Owns: what a group has counted since it was opened: numbers that only grow. Counting is on the hot path and costs an
// addition; whoever wants to know reads them.
import { Histogram } from "../base/histogram.ts";

export class GroupCounts {
  /** Slots whose outcome this node knows: decided by votes that it counted, or told by others; a value, or nothing. */
  readonly decided = { voted: { value: 0, null: 0 }, told: { value: 0, null: 0 } };
  /** Of those that were voted on here: they took more than one phase. */
  latePhases = 0;
  /** Batches of commands of this node that have left, and the commands in them. */
  batches = 0;
  batchCommands = 0;
  /** Durable writes of the journal. */
  writes = 0;
  private writeTimes = new Histogram();
  /** Payloads of peers that could not be decoded. */
  refusedMessages = 0;

  noteDecision(learned: "voted" | "told", outcome: "value" | "null"): void {
    this.decided[learned][outcome] += 1;
  }

  noteWrite(ms: number): void {
    this.writes += 1;
    this.writeTimes.add(ms);
  }

  /** How long writes took since the last time that somebody asked. */
  takeWriteTimes(): Histogram {
    const taken = this.writeTimes;
    this.writeTimes = new Histogram();
    return taken;
  }

  get nullSlots(): number {
    return this.decided.voted.null + this.decided.told.null;
  }
}
