// Owns: the next events after a place, for who follows them by asking again and again: as soon as there is one, or when
// the time is over.
import { createDeferred } from "../base/deferred.ts";
import type { Clock } from "../env/clock.ts";
import type { ClusterEvent } from "../metrics/events/core/event.ts";
import type { EventFilter } from "../metrics/events/core/event-filter.ts";
import type { EventArea } from "../metrics/events/core/event-kinds.ts";
import type { ClusterEvents } from "../metrics/events/event-hub.ts";

export interface NextEventsQuery {
  readonly filter: EventFilter;
  readonly after?: string;
  readonly limit: number;
  readonly waitMs: number;
}

export interface EventPage {
  /** The oldest first, each with where to go on after it. */
  readonly events: readonly (ClusterEvent & { readonly cursor: string })[];
  /** Areas of which there may have been events after the place that are not held any more. */
  readonly gaps: readonly EventArea[];
  /** Where to go on. */
  readonly cursor: string;
}

/**
 * With `gone` the answer comes at once: a node that stops does not wait for those that wait.
 * @throws AetherError E_INVALID for a place that is none
 */
export async function nextEvents(
  { events: hub, clock }: { readonly events: ClusterEvents; readonly clock: Pick<Clock, "setTimer"> },
  { filter, limit, waitMs, ...place }: NextEventsQuery,
  gone: AbortSignal,
): Promise<EventPage> {
  const events: (ClusterEvent & { readonly cursor: string })[] = [];
  let gaps: readonly EventArea[] = [];
  const found = createDeferred<void>();
  const stop = (): void => found.resolve();
  const following = hub.follow(filter, {
    onEvent: (event, cursor) => {
      events.push({ ...event, cursor });
      stop();
    },
    onGap: (areas) => {
      gaps = areas;
      stop();
    },
    isFull: () => events.length >= limit,
  }, place);
  const timer = clock.setTimer(waitMs, stop);
  gone.addEventListener("abort", stop, { once: true });
  try {
    if (!gone.aborted) await found.promise;
    return { events, gaps, cursor: following.cursor };
  } finally {
    following.close();
    timer.cancel();
    gone.removeEventListener("abort", stop);
  }
}
