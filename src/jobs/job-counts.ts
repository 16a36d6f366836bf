// Owns: what has happened in the jobs of this node since it began, counted by kind of event: numbers that only grow.
import type { JobEvent } from "./core/log/event.ts";

export class JobCounts {
  private readonly byType = new Map<JobEvent["type"], number>();

  /** These are in the store now. */
  note(events: readonly JobEvent[]): void {
    for (const { type } of events) this.byType.set(type, this.of(type) + 1);
  }

  of(...types: readonly JobEvent["type"][]): number {
    return types.reduce((sum, type) => sum + (this.byType.get(type) ?? 0), 0);
  }

  all(): ReadonlyMap<JobEvent["type"], number> {
    return this.byType;
  }
}
