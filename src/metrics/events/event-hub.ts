// Owns: the events that this node holds, and handing new ones to whoever follows them.
// E4  A follower that does not read holds up nobody and loses nothing that is held; what is pushed out meanwhile is
//     counted.
// Does not own: reading them from the store (store-events.ts), what this node sees itself (own-events.ts).
import type { NodeId } from "../../base/ids.ts";
import { advanced, type Cursor, formatCursor, isAfter, joined, parseCursor } from "./core/cursor.ts";
import type { ClusterEvent, EventDraft, EventPlace } from "./core/event.ts";
import { isWanted, type EventFilter } from "./core/event-filter.ts";
import type { EventArea } from "./core/event-kinds.ts";
import { EventLog, type HeldEvent } from "./core/event-log.ts";

/** Hears of events. Must not throw. */
export interface EventFollower {
  /** `cursor`: where to go on after this one. `missed`: events before it that were pushed out while it was full. */
  onEvent(event: ClusterEvent, cursor: string, missed: number): void;
  /** There may have been events of these areas between the cursor and what follows. */
  onGap(areas: readonly EventArea[]): void;
  /** Asked before each event: while it is, none comes. */
  isFull(): boolean;
}

export interface EventFollowing {
  /** Where to go on: behind what was handed over, and behind all that is held where nothing more waits. */
  readonly cursor: string;
  /** To be called when the follower was full and is not any more. */
  resume(): void;
  close(): void;
}

export interface EventList {
  readonly events: readonly ClusterEvent[];
  /** Areas of which there may have been events after the cursor that are not held any more. */
  readonly gaps: readonly EventArea[];
  /** Where to go on. */
  readonly cursor: string;
}

/** What those see who read the events. */
export interface ClusterEvents {
  /** The newest that are held, oldest first; with `after` only what came after it. @throws AetherError E_INVALID */
  list(filter: EventFilter, options: { readonly after?: string; readonly limit: number }): EventList;
  /**
   * What comes from now on; with `after` first what is held after that cursor, else with `filter.sinceMs` what is held
   * from that time on. @throws AetherError E_INVALID
   */
  follow(filter: EventFilter, follower: EventFollower, options?: { readonly after?: string }): EventFollowing;
  /** Where somebody stands who has seen all there is now. */
  cursor(): string;
}

export class EventHub implements ClusterEvents {
  private readonly log: EventLog;
  private readonly self: { readonly node: NodeId; readonly incarnation: number };
  private readonly followings = new Set<Following>();
  private said = 0;

  constructor(self: { readonly node: NodeId; readonly incarnation: number }) {
    this.self = self;
    this.log = new EventLog(self);
  }

  /** What this node says by itself. */
  say(draft: EventDraft, nowMs: number): void {
    this.add(draft, { kind: "node", ...this.self, seq: ++this.said }, nowMs);
  }

  add(draft: EventDraft, place: EventPlace, atMs: number): void {
    const { one, gone } = this.log.add(draft, place, atMs);
    for (const following of this.followings) following.take(one, gone);
  }

  /** What the store said up to this revision is not read here. */
  beginAfter(revision: number): void {
    this.log.beginAfter(revision);
  }

  /** All that the store said up to this revision was added. */
  noteRevision(revision: number): void {
    this.log.noteRevision(revision);
  }

  cursor(): string {
    return formatCursor(this.log.cursor);
  }

  list(filter: EventFilter, { after, limit }: { readonly after?: string; readonly limit: number }): EventList {
    const { events, gaps } = after === undefined
      ? { events: this.log.all(), gaps: [] }
      : this.log.since(parseCursor(after));
    const wanted = events.map(({ event }) => event).filter((event) => isWanted(event, filter));
    return { events: wanted.slice(-limit), gaps, cursor: this.cursor() };
  }

  follow(
    filter: EventFilter, follower: EventFollower, { after }: { readonly after?: string } = {},
  ): EventFollowing {
    const { log } = this;
    const from = after === undefined ? filter.sinceMs === undefined ? log.cursor : log.oldest : parseCursor(after);
    const { gaps } = log.since(from);
    if (after !== undefined && gaps.length > 0) follower.onGap(gaps);
    const following = new Following(log, { filter, follower }, from);
    this.followings.add(following);
    following.resume();
    return {
      get cursor() {
        return formatCursor(following.place);
      },
      resume: () => following.resume(),
      close: () => void this.followings.delete(following),
    };
  }
}

/** A place among the events that are held: nothing is kept for one follower. */
class Following {
  private readonly log: EventLog;
  readonly filter: EventFilter;
  readonly follower: EventFollower;
  private cursor: Cursor;
  /** Not all that is held was handed over: what comes waits until this was. */
  private state: "behind" | "resuming" | "current" = "behind";
  private missed = 0;

  constructor(log: EventLog, wanted: Pick<Following, "filter" | "follower">, from: Cursor) {
    this.log = log;
    this.filter = wanted.filter;
    this.follower = wanted.follower;
    this.cursor = from;
  }

  /** What was missed before it is not missed again by who goes on from there. */
  get place(): Cursor {
    return this.state === "current" ? joined(this.cursor, this.log.cursor) : this.cursor;
  }

  /** `one` was added, and pushed `gone` out. */
  take(one: HeldEvent, gone: HeldEvent | undefined): void {
    if (this.state === "current") {
      if (!this.hand(one)) this.state = "behind";
    } else if (gone !== undefined && isAfter(gone.place, this.cursor) && isWanted(gone.event, this.filter)) {
      this.missed += 1;
    }
  }

  resume(): void {
    // A follower may say that it has room while it takes something.
    if (this.state !== "behind") return;
    this.state = "resuming";
    const isDone = this.log.since(this.cursor).events.every((one) => this.hand(one));
    this.state = isDone ? "current" : "behind";
  }

  /** False when the follower is full. */
  private hand({ event, place }: HeldEvent): boolean {
    const cursor = advanced(this.cursor, place);
    if (isWanted(event, this.filter)) {
      if (this.follower.isFull()) return false;
      const { missed } = this;
      this.missed = 0;
      this.follower.onEvent(event, formatCursor(cursor), missed);
    }
    this.cursor = cursor;
    return true;
  }
}
