// Owns: how often instances of slices failed lately, by the events that every node reads from the store: whoever leads
// next knows the same.
import type { Clock } from "../env/clock.ts";
import type { ClusterEvent } from "../metrics/events/core/event.ts";
import type { ClusterEvents, EventFollowing } from "../metrics/events/event-hub.ts";
import { FAILURES_WITHIN_MS } from "./core/alert-rules.ts";

/** Instances of which failures are kept; of each at most so many failures. */
export const FAILING_INSTANCES_MAX = 1_000;
const FAILURES_KEPT_MAX = 100;

export class InstanceFailures {
  private readonly clock: Pick<Clock, "nowMs" | "wallMs">;
  private readonly events: Pick<ClusterEvents, "follow">;
  /** By slice and number of the instance: oldest first, on the clock that only goes forward. */
  private readonly failed = new Map<string, { readonly slice: string; readonly atMs: number[] }>();
  private following: EventFollowing | undefined;

  constructor(clock: Pick<Clock, "nowMs" | "wallMs">, events: Pick<ClusterEvents, "follow">) {
    this.clock = clock;
    this.events = events;
  }

  start(): void {
    const filter = { kinds: new Set(["instance.failed"] as const), sinceMs: 0 };
    this.following = this.events.follow(filter, {
      onEvent: (event) => this.note(event),
      onGap: () => undefined,
      isFull: () => false,
    });
  }

  close(): void {
    this.following?.close();
  }

  /** The most that one instance of a slice failed lately, by slice. */
  lately(): ReadonlyMap<string, number> {
    const fromMs = this.clock.nowMs() - FAILURES_WITHIN_MS;
    const most = new Map<string, number>();
    for (const [key, { slice, atMs }] of this.failed) {
      while (atMs[0] !== undefined && atMs[0] < fromMs) atMs.shift();
      if (atMs.length === 0) this.failed.delete(key);
      else most.set(slice, Math.max(most.get(slice) ?? 0, atMs.length));
    }
    return most;
  }

  private note({ atMs, fields }: ClusterEvent): void {
    const slice = String(fields["slice"]);
    const key = `${slice}/${fields["instance"]}`;
    const known = this.failed.get(key) ?? { slice, atMs: [] };
    if (!this.failed.has(key) && this.failed.size >= FAILING_INSTANCES_MAX) return;
    this.failed.set(key, known);
    // As old as it is by the clock of now: one that is set anew later makes it neither young nor old.
    known.atMs.push(this.clock.nowMs() - Math.max(0, this.clock.wallMs() - atMs));
    if (known.atMs.length > FAILURES_KEPT_MAX) known.atMs.shift();
  }
}
