// Owns: the events that a node holds: the last of each area, so that a burst in one pushes out nothing of another.
// E2  Of each area the newest are held, whatever their age and whatever happens in other areas.
// Does not own: where events come from, who reads them.
import { present } from "../../../base/assert.ts";
import { advanced, advancedTo, type Cursor, INDEX_LAST, isAfter } from "./cursor.ts";
import {
  makeEvent, shortened, type ClusterEvent, type EventDraft, type EventPlace, type NodePlace,
} from "./event.ts";
import { EVENT_AREAS, EVENT_KINDS, type EventArea } from "./event-kinds.ts";

/** Events held of each area. Beyond it the oldest go; age alone takes none away. */
export const EVENTS_PER_AREA_MAX = 1_000;

/** What a job has done is read by nobody as a rule: an event is made when somebody looks at it. */
export class HeldEvent {
  readonly place: EventPlace;
  /** In the order in which they came to this node. */
  readonly arrival: number;
  private readonly draft: EventDraft;
  private readonly atMs: number;
  private made: ClusterEvent | undefined;

  constructor(draft: EventDraft, at: { readonly place: EventPlace; readonly atMs: number; readonly arrival: number }) {
    this.draft = draft;
    this.place = at.place;
    this.atMs = at.atMs;
    this.arrival = at.arrival;
  }

  get event(): ClusterEvent {
    return (this.made ??= makeEvent(this.draft, this.place, this.atMs));
  }
}

export interface EventsSince {
  readonly events: readonly HeldEvent[];
  /** Areas of which there may have been events after the cursor that are not held any more. */
  readonly gaps: readonly EventArea[];
}

/** The events of one area. */
interface Room {
  /** Oldest first. */
  readonly ring: HeldEvent[];
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

  /** Gives what was added, and what is held no more from now on. */
  add(draft: EventDraft, place: EventPlace, atMs: number): { readonly one: HeldEvent; readonly gone?: HeldEvent } {
    this.seen = advanced(this.seen, place);
    const one = new HeldEvent(shortened(draft), { place, atMs, arrival: this.arrivals++ });
    const room = present(this.rooms.get(EVENT_KINDS[draft.kind].area), "every area has its room");
    room.ring.push(one);
    const gone = room.ring.length > EVENTS_PER_AREA_MAX ? room.ring.shift() : undefined;
    if (gone === undefined) return { one };
    room.lastGone = gone.place;
    return { one, gone };
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
