// Owns: the last few revisions as objects, for readers that follow closely.
// Does not own: everything older (history-row.ts).
//
// Two halves, of which the older one goes when the newer one is full: what is here is young enough to cost the garbage
// collector nothing.
import type { RevisionChanges } from "./history-row.ts";

export interface RecentBounds {
  readonly recentRevisions: number;
  readonly recentBytes: number;
}

export class RecentChanges {
  private readonly bounds: RecentBounds;
  private older: readonly RevisionChanges[] = [];
  private newer: RevisionChanges[] = [];
  private newerBytes = 0;

  constructor(bounds: RecentBounds) {
    this.bounds = bounds;
  }

  get count(): number {
    return this.older.length + this.newer.length;
  }

  /** Adds the next revision, whose changes weigh so much. */
  push(item: RevisionChanges, bytes: number): void {
    const { recentRevisions, recentBytes } = this.bounds;
    if (this.newer.length * 2 >= recentRevisions || this.newerBytes * 2 >= recentBytes) {
      this.older = this.newer;
      this.newer = [];
      this.newerBytes = 0;
    }
    this.newer.push(item);
    this.newerBytes += bytes;
  }

  /** The last `count`, oldest first; they are all there. */
  last(count: number): readonly RevisionChanges[] {
    if (count <= this.newer.length) return this.newer.slice(this.newer.length - count);
    return [...this.older.slice(this.newer.length - count), ...this.newer];
  }

  clear(): void {
    this.older = [];
    this.newer = [];
    this.newerBytes = 0;
  }
}
