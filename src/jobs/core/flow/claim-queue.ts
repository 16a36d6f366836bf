// Owns: the jobs of the queue as one node goes through them: which of them it may claim already, and in which order.
// Does not own: the order (fair-queue.ts), why one is put off (claimer.ts).
import type { JobId } from "../../../base/ids.ts";
import { FairQueue, type FairEntry } from "./fair-queue.ts";
import { SortedList } from "./sorted-list.ts";

interface PutOff<T> {
  readonly entry: T;
  readonly dueMs: number;
}

export class ClaimQueue<T extends FairEntry> {
  private readonly ready = new FairQueue<T>();
  private readonly later = new SortedList<PutOff<T>>((a, b) =>
    a.dueMs - b.dueMs || (a.entry.job === b.entry.job ? 0 : a.entry.job < b.entry.job ? -1 : 1));
  private readonly putOff = new Map<JobId, PutOff<T>>();

  /** The job waits in the queue; this node may claim it from then on. What was known of it before is forgotten. */
  put(entry: T, dueMs: number): void {
    this.remove(entry.job);
    const put = { entry, dueMs };
    this.putOff.set(entry.job, put);
    this.later.add(put);
  }

  /** The job does not wait any more. */
  remove(job: JobId): void {
    this.ready.remove(job);
    const put = this.putOff.get(job);
    if (put === undefined) return;
    this.putOff.delete(job);
    this.later.remove(put);
  }

  /** The next job to claim, which is taken out. */
  take(nowMs: number, mayRun: (entry: T) => boolean): T | undefined {
    this.ripen(nowMs);
    return this.ready.pick(mayRun);
  }

  /** Whether there is one that could be claimed now. */
  hasOne(nowMs: number, mayRun: (entry: T) => boolean): boolean {
    this.ripen(nowMs);
    return this.ready.size > 0 && this.ready.hasOne(mayRun);
  }

  /** When the next one may be claimed that may not yet. */
  get nextDueMs(): number | undefined {
    return this.later.first?.dueMs;
  }

  private ripen(nowMs: number): void {
    for (let next = this.later.first; next !== undefined && next.dueMs <= nowMs; next = this.later.first) {
      this.later.remove(next);
      this.putOff.delete(next.entry.job);
      this.ready.put(next.entry);
    }
  }
}
