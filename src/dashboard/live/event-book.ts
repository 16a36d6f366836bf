// Owns: what has happened in the cluster, in the page: what the node holds and what comes, newest first.
import type { ClusterEventAnswer } from "../answers.ts";
import { after, type Stop } from "../browser-adapter.ts";
import { follow } from "./event-source.ts";
import { Store } from "./store.ts";

export interface EventsShown {
  /** Newest first. */
  readonly events: readonly ClusterEventAnswer[];
  readonly isLoaded: boolean;
}

const EVENTS_MAX = 2_000;
const DRAW_MS = 100;

export class EventBook {
  readonly shown = new Store<EventsShown>({ events: [], isLoaded: false });
  private events = new Map<string, ClusterEventAnswer>();
  private isDrawing = false;

  watch(): Stop {
    return follow({
      open: () => {
        this.drawSoon();
        // From the beginning of what is held: after a gap the node says again what it knows.
        return "/v1/events?sinceMs=0";
      },
      events: { event: (event) => this.take(event as ClusterEventAnswer) },
    });
  }

  private take(event: ClusterEventAnswer): void {
    this.events.set(event.id, event);
    this.drawSoon();
  }

  /** A few times a second, however many come: all are put in order each time. */
  private drawSoon(): void {
    if (this.isDrawing) return;
    this.isDrawing = true;
    after(DRAW_MS, () => {
      this.isDrawing = false;
      const events = [...this.events.values()].sort(newestFirst).slice(0, EVENTS_MAX);
      if (this.events.size > EVENTS_MAX) this.events = new Map(events.map((event) => [event.id, event]));
      this.shown.set({ events, isLoaded: true });
    });
  }
}

function newestFirst(a: ClusterEventAnswer, b: ClusterEventAnswer): number {
  return b.atMs - a.atMs || (a.id < b.id ? 1 : -1);
}
