// Owns: /v1/events: what has happened in the cluster, as a list of what the node holds, as server-sent events, or a
// page at a time.
// Does not own: which events there are, and how long they are held (metrics/events).
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { jsonText } from "../../base/json-text.ts";
import type { Clock } from "../../env/clock.ts";
import type { ClusterEvent } from "../../metrics/events/core/event.ts";
import type { EventFilter } from "../../metrics/events/core/event-filter.ts";
import {
  EVENT_AREAS, EVENT_KINDS, type EventArea, type EventKind, isEventKind, SEVERITIES,
} from "../../metrics/events/core/event-kinds.ts";
import type { ClusterEvents, EventFollower, EventFollowing } from "../../metrics/events/event-hub.ts";
import type { ApiRequest } from "../api-request.ts";
import { EventStream } from "../event-stream.ts";
import { nextEvents } from "../next-events.ts";
import { jsonResponse } from "../json.ts";
import { EVENTS_WAIT_MS_MAX } from "../limits.ts";
import type { Route } from "../route.ts";

export interface EventsRoutePorts {
  readonly events: ClusterEvents;
  readonly clock: Pick<Clock, "setTimer">;
}

/** Events that one list gives at most. */
export const EVENTS_LISTED_MAX = 1_000;
const EVENTS_LISTED_DEFAULT = 100;
const NAMES_CHARS_MAX = 1_000;

const names = z.string().max(NAMES_CHARS_MAX);

const eventsQuery = z.strictObject({
  follow: z.enum(["true", "false", "poll"]).default("true")
    .describe("`false`: a list of what is held, and no stream. `poll`: as a stream, but one page of it at a time"),
  kind: names.exactOptional().describe("Only events of these kinds, with commas"),
  area: names.exactOptional().describe(`Only events of these areas, with commas: ${EVENT_AREAS.join(", ")}`),
  severity: z.enum(SEVERITIES).exactOptional().describe("Only events as severe as this, or more"),
  subject: names.exactOptional().describe("Only events about this, like node/n1, or n1"),
  sinceMs: z.coerce.number().min(0).exactOptional()
    .describe("Only events from this time on, milliseconds since 1970; a stream begins with those that are held"),
  after: names.exactOptional().describe("What came after this place: `cursor` of a list, or an `id` of a stream"),
  limit: z.coerce.number().int().min(1).max(EVENTS_LISTED_MAX).default(EVENTS_LISTED_DEFAULT)
    .describe("How many a list gives, the newest; and a poll, the oldest"),
  waitMs: z.coerce.number().int().min(0).max(EVENTS_WAIT_MS_MAX).default(0)
    .describe("Of a poll: how long it may wait for the first event"),
});

export function eventsRoute(ports: EventsRoutePorts, closing: AbortSignal): Route {
  return {
    method: "GET",
    path: "/v1/events",
    summary: "What has happened in the cluster: a stream of what comes from now on, or (follow=false) a list of what " +
      "this node holds, or (follow=poll) the next events after a place",
    query: eventsQuery,
    headers: { "Last-Event-ID": "Goes on after this `id` of a stream, on any node" },
    answer: "text/event-stream: event { id, kind, area, severity, atMs, subject, text, fields, missed? }; " +
      "gap { areas } (there may have been events that are not held any more); alive (every 10 s); error. " +
      "With follow=false: { events, gaps, cursor }, with follow=poll the same and the cursor of each event",
    handle: async (request) => {
      const { follow, limit, waitMs } = request.query(eventsQuery);
      const filter = filterOf(request);
      const after = placeOf(request);
      if (follow === "poll") {
        const gone = AbortSignal.any([request.signal(), closing]);
        return jsonResponse(200, await nextEvents(ports, { filter, ...after, limit, waitMs }, gone));
      }
      if (follow === "true") return new EventsStream(ports, closing).open(filter, after);
      return jsonResponse(200, ports.events.list(filter, { ...after, limit }));
    },
  };
}

function filterOf(request: ApiRequest): EventFilter {
  const { kind, area, severity, subject, sinceMs } = request.query(eventsQuery);
  return {
    ...(kind !== undefined && { kinds: new Set(kind.split(",").map(kindOf)) }),
    ...(area !== undefined && { areas: new Set(area.split(",").map(areaOf)) }),
    ...(severity !== undefined && { severity }),
    ...(subject !== undefined && { subject }),
    ...(sinceMs !== undefined && { sinceMs }),
  };
}

/** Of the two, `Last-Event-ID` is the newer: a client that reconnects repeats its first `after`. */
function placeOf(request: ApiRequest): { readonly after?: string } {
  const after = request.header("last-event-id") ?? request.query(eventsQuery).after;
  return after === undefined ? {} : { after };
}

function kindOf(name: string): EventKind {
  if (isEventKind(name)) return name;
  throw unknown("kind", name, Object.keys(EVENT_KINDS));
}

function areaOf(name: string): EventArea {
  const area = EVENT_AREAS.find((one) => one === name);
  if (area === undefined) throw unknown("area", name, EVENT_AREAS);
  return area;
}

function unknown(what: string, name: string, known: readonly string[]): AetherError {
  const shown = name.slice(0, 100);
  return new AetherError("E_INVALID", `"${shown}" is no ${what} of events: there are ${known.join(", ")}`);
}

class EventsStream implements EventFollower {
  private readonly ports: EventsRoutePorts;
  private readonly stream: EventStream;
  private following: EventFollowing | undefined;

  constructor(ports: EventsRoutePorts, closing: AbortSignal) {
    this.ports = ports;
    this.stream = new EventStream({
      closing,
      elsewhere: "follow the events on another one",
      onGone: () => this.following?.close(),
      onRoom: () => this.following?.resume(),
    });
  }

  open(filter: EventFilter, after: { readonly after?: string }): Response {
    // Said before anything else: who is cut off before the first event goes on from here.
    const begin = after.after ?? (filter.sinceMs === undefined ? this.ports.events.cursor() : undefined);
    this.send("alive", {}, begin);
    this.following = this.ports.events.follow(filter, this, after);
    this.stream.keepAlive(this.ports.clock);
    return this.stream.open();
  }

  onEvent(event: ClusterEvent, cursor: string, missed: number): void {
    this.send("event", missed === 0 ? event : { ...event, missed }, cursor);
  }

  onGap(areas: readonly EventArea[]): void {
    this.send("gap", { areas });
  }

  isFull(): boolean {
    return this.stream.isFull;
  }

  private send(event: string, data: unknown, id?: string): void {
    this.stream.send([{ event, data: jsonText(data), ...(id !== undefined && { id }) }]);
  }
}
