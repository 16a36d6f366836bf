// Owns: events that only the leader can say, on their way to all nodes: it numbers them, and sends each for a while
// with every snapshot. Who leads next goes on sending what it has heard, so that one is lost only with a leader that
// dies before it has told anybody.
// Does not own: how a snapshot travels (metrics-service.ts).
import { SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import { isAfter } from "./core/cursor.ts";
import { shortened, type EventDraft, type SaidEvent } from "./core/event.ts";
import type { EventHub } from "./event-hub.ts";

/** Of one snapshot: the newest. */
export const LEADER_EVENTS_SENT_MAX = 32;
/** Snapshots of so long carry an event: a node that misses fewer misses none. */
const SENT_FOR_MS = 10 * SECOND_MS;

export class LeaderEvents {
  private readonly clock: Pick<Clock, "nowMs" | "wallMs">;
  private readonly hub: Pick<EventHub, "add">;
  private taken: readonly { readonly one: SaidEvent; readonly atMs: number }[] = [];

  constructor(clock: Pick<Clock, "nowMs" | "wallMs">, hub: Pick<EventHub, "add">) {
    this.clock = clock;
    this.hub = hub;
  }

  /** What is to be sent, oldest first. */
  newest(): readonly SaidEvent[] {
    const fromMs = this.clock.nowMs() - SENT_FOR_MS;
    return this.taken.filter(({ atMs }) => atMs >= fromMs).map(({ one }) => one);
  }

  /** As the leader of this epoch. */
  say(draft: EventDraft, epoch: number): void {
    const last = this.taken.at(-1)?.one;
    const seq = last?.epoch === epoch ? last.seq + 1 : 1;
    this.take({ epoch, seq, atMs: this.clock.wallMs(), draft: shortened(draft) });
  }

  /** What a leader sends; what was heard before is left out. */
  hear(said: readonly SaidEvent[]): void {
    for (const one of said) this.take(one);
  }

  private take(one: SaidEvent): void {
    const last = this.taken.at(-1)?.one;
    const place = { kind: "leader", epoch: one.epoch, seq: one.seq } as const;
    if (last !== undefined && !isAfter(place, { ...NOTHING_SEEN, leader: last })) return;
    this.taken = [...this.taken, { one, atMs: this.clock.nowMs() }].slice(-LEADER_EVENTS_SENT_MAX);
    this.hub.add(one.draft, place, one.atMs);
  }
}

const NOTHING_SEEN = { store: { revision: 0, index: 0 }, nodes: new Map() } as const;
