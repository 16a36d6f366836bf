// Owns: events as a client follows them: one after the other, over lost connections and nodes.
// Does not own: what events there are (metrics/events), requests and their repeats (multiplexer.ts).
import { z } from "zod";
import { ERRORS } from "../base/error-catalog.ts";
import { AetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import { EVENTS_WAIT_MS_MAX } from "../api/limits.ts";
import type { Clock } from "../env/clock.ts";
import { SEVERITIES, type EventArea, type EventKind, type Severity } from "../metrics/events/core/event-kinds.ts";
import { askApi } from "./api-request.ts";
import type { Multiplexer } from "./multiplexer.ts";

/** All of it has to hold; what is left out leaves nothing out. */
export interface EventQuery {
  readonly kinds?: readonly EventKind[];
  readonly areas?: readonly EventArea[];
  /** This severe, or more. */
  readonly severity?: Severity;
  /** What it is about, such as `node/n1`, or only `n1`. */
  readonly subject?: string;
  /** Begins with what nodes hold of this time and later. Default: with what happens from now on. */
  readonly since?: Date;
  /** Begins behind this place instead: `cursor` of an event that was seen before. */
  readonly after?: string;
}

export interface EventOptions {
  /** Ends the following: the next step rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** Something that has happened in the cluster, see `docs/reference/events.md`. */
export interface ClientEvent {
  /** The same on every node that tells it. */
  readonly id: string;
  /** A node of a later release may tell kinds that this one does not know. */
  readonly kind: string;
  readonly area: string;
  readonly severity: Severity;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly subject: string;
  /** For people. */
  readonly text: string;
  readonly fields: Readonly<Record<string, string | number | boolean>>;
  /** Where to go on after it, at any node: `after` of another query. */
  readonly cursor: string;
  /** Before this event there may have been others, of these areas, that no node could tell any more. */
  readonly gaps?: readonly string[];
}

/** Of one question; nodes hold the answer back until something happens. */
const WAIT_MS = EVENTS_WAIT_MS_MAX / 3;
const TIMEOUT_MS = WAIT_MS + 10 * SECOND_MS;
const PAGE_EVENTS = 200;
/** Before it is asked again after no node could answer. */
const PAUSE_MS = SECOND_MS;

const pageSchema = z.object({
  events: z.array(z.object({
    id: z.string(),
    kind: z.string(),
    area: z.string(),
    severity: z.enum(SEVERITIES),
    atMs: z.number(),
    subject: z.string(),
    text: z.string(),
    fields: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
    cursor: z.string(),
  })),
  gaps: z.array(z.string()),
  cursor: z.string(),
});

export interface EventsPorts {
  readonly requests: Multiplexer;
  readonly clock: Pick<Clock, "sleep">;
}

/**
 * Ends only with `options.signal`, by `break`, or when the client is closed: where no node answers it asks on.
 * @throws AetherError E_INVALID for a query that is none, E_UNAVAILABLE once the client is closed
 */
export async function* followEvents(
  ports: EventsPorts, { after, ...query }: EventQuery = {}, { signal }: EventOptions = {},
): AsyncGenerator<ClientEvent, never> {
  let place = after;
  let gaps: readonly string[] = [];
  for (;;) {
    const page = await nextPage(ports, { ...query, ...(place !== undefined && { after: place }) }, signal);
    gaps = [...new Set([...gaps, ...page.gaps])];
    for (const event of page.events) {
      yield { ...event, ...(gaps.length > 0 && { gaps }) };
      gaps = [];
    }
    place = page.cursor;
  }
}

async function nextPage(
  { requests, clock }: EventsPorts, query: EventQuery, signal: AbortSignal | undefined,
): Promise<z.output<typeof pageSchema>> {
  const path = `/v1/events?${textOf(query)}`;
  const call = { what: "follow events", effect: "read", method: "GET", path, timeoutMs: TIMEOUT_MS, signal } as const;
  for (;;) {
    try {
      return (await askApi(requests, pageSchema, call)).value;
    } catch (error) {
      const mayAsk = error instanceof AetherError && ERRORS[error.code].retry !== "never" && !requests.isClosed;
      if (!mayAsk) throw error;
    }
    await clock.sleep(PAUSE_MS, signal);
  }
}

function textOf({ kinds, areas, severity, subject, since, after }: EventQuery): string {
  // Where it begins is to be known at once: whoever loses the first node before would begin later at the next one.
  const waitMs = after === undefined ? 0 : WAIT_MS;
  const text = new URLSearchParams({ follow: "poll", limit: String(PAGE_EVENTS), waitMs: String(waitMs) });
  const said = {
    kind: kinds?.join(","), area: areas?.join(","), severity, subject, sinceMs: since?.getTime(), after,
  };
  for (const [name, value] of Object.entries(said)) if (value !== undefined) text.set(name, String(value));
  return text.toString();
}
