// Owns: the events that a node holds: the last of each area, so that a burst in one pushes out nothing of another.
// E2  Of each area the newest are held, whatever their age and whatever happens in other areas.
// Does not own: where events come from, who reads them.
import { advanced, advancedTo, type Cursor, INDEX_LAST, isAfter } from "./cursor.ts";
import type { ClusterEvent, EventPlace, NodePlace } from "./event.ts";
import { EVENT_AREAS, type EventArea } from "./event-kinds.ts";

/** Events held of each area. Beyond it the oldest go; age alone takes none away. */
export const EVENTS_PER_AREA_MAX = 1_000;

export interface HeldEvent {
  readonly event: ClusterEvent;
  readonly place: EventPlace;
}

export interface EventsSince {
  readonly events: readonly HeldEvent[];
  /** Areas of which there may have been events after the cursor that are not held any more. */
  readonly gaps: readonly EventArea[];
}

interface Arrived extends HeldEvent {
  /** In the order in which they came to this node. */
  readonly arrival: number;
}

/** The events of one area. */
interface Room {
  /** Oldest first. */
  readonly ring: Arrived[];
  /** The last that was pushed out. */
  lastGone: EventPlace | undefined;
}

export class EventLog {
  private readonly rooms: ReadonlyMap<EventArea, Room>;
  private arrivals = 0;
  private seen: Cursor;
  private begin: Cursor = { store: { revision: 0, index: INDEX_LAST }, nodes: new Map() };

  constructor({ node, incarnation }: Pick<NodePlace, "node" | "incarnation">) {
    this.rooms = new Map(EVENT_AREAS.map((area) => [area, { ring: [], lastGone: undefined }]));
    // What this node has not said yet is not what is not known of it.
    this.seen = { store: { revision: 0, index: INDEX_LAST }, nodes: new Map([[node, { incarnation, seq: 0 }]]) };
  }

  /** Where somebody stands who has seen all there is now. */
  get cursor(): Cursor {
    return this.seen;
  }

  /** Where somebody stands who has seen nothing of what is read here. */
  get oldest(): Cursor {
    return this.begin;
  }

  /** What the store said up to this revision is not read here. */
  beginAfter(revision: number): void {
    this.begin = advancedTo(this.begin, revision);
    this.noteRevision(revision);
  }

  /** All that the store said up to this revision was added. */
  noteRevision(revision: number): void {
    this.seen = advancedTo(this.seen, revision);
  }

  /** Gives what is held no more from now on. */
  add(event: ClusterEvent, place: EventPlace): HeldEvent | undefined {
    this.seen = advanced(this.seen, place);
    const room = this.rooms.get(event.area);
    if (room === undefined) return undefined;
    const { ring } = room;
    ring.push({ event, place, arrival: this.arrivals++ });
    if (ring.length <= EVENTS_PER_AREA_MAX) return undefined;
    const gone = ring.shift();
    room.lastGone = gone?.place;
    return gone;
  }

  /** In the order of arrival. */
  since(cursor: Cursor): EventsSince {
    const isTooOld = cursor.store.revision < this.begin.store.revision;
    const gaps = [...this.rooms].flatMap(([area, { lastGone }]) => {
      return isTooOld || (lastGone !== undefined && isAfter(lastGone, cursor)) ? [area] : [];
    });
    return { events: this.all().filter(({ place }) => isAfter(place, cursor)), gaps };
  }

  /** All that is held, in the order of arrival. */
  all(): readonly HeldEvent[] {
    return [...this.rooms.values()].flatMap(({ ring }) => ring).sort((a, b) => a.arrival - b.arrival);
  }
}
