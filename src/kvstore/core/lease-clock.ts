// Owns: since when this node has known each lease as it is now, by its own monotonic clock.
// Does not own: the clock, and whether a lease ends: that takes a quorum of nodes (lease-keeper.ts).
//
// A lease is noted when its grant or renewal is applied here, which is never before it was decided. What is new here
// (after a start, a snapshot, a lag) is noted then: so a lease ends late perhaps, but not early.
import type { SeenLease } from "./command.ts";
import type { LeaseId } from "./schema.ts";

interface Note {
  readonly ttlMs: number;
  readonly renewals: number;
  readonly sinceMs: number;
}

export class LeaseClock {
  private notes = new Map<LeaseId, Note>();

  get size(): number {
    return this.notes.size;
  }

  /** All leases there are; whatever was known of them before is forgotten. */
  reset(leases: Iterable<SeenLease & { readonly ttlMs: number }>, nowMs: number): void {
    this.notes = new Map();
    for (const { lease, ttlMs, renewals } of leases) this.notes.set(lease, { ttlMs, renewals, sinceMs: nowMs });
  }

  granted(lease: LeaseId, ttlMs: number, nowMs: number): void {
    this.notes.set(lease, { ttlMs, renewals: 0, sinceMs: nowMs });
  }

  renewed(leases: readonly SeenLease[], nowMs: number): void {
    for (const { lease, renewals } of leases) {
      const note = this.notes.get(lease);
      if (note !== undefined) this.notes.set(lease, { ttlMs: note.ttlMs, renewals, sinceMs: nowMs });
    }
  }

  ended(leases: readonly LeaseId[]): void {
    for (const lease of leases) this.notes.delete(lease);
  }

  /** Whether nobody has renewed the lease for its whole time, as far as this node has seen. */
  isIdle({ lease, renewals }: SeenLease, nowMs: number): boolean {
    const note = this.notes.get(lease);
    return note?.renewals === renewals && nowMs - note.sinceMs >= note.ttlMs;
  }

  /** Leases that are idle for `extraMs` beyond their time, `countMax` at most. */
  idle(nowMs: number, extraMs: number, countMax: number): readonly SeenLease[] {
    const idle: SeenLease[] = [];
    for (const [lease, { ttlMs, renewals, sinceMs }] of this.notes) {
      if (idle.length === countMax) break;
      if (nowMs - sinceMs >= ttlMs + extraMs) idle.push({ lease, renewals });
    }
    return idle;
  }
}
