// Owns: how the events of one append become a page of the log, and how pages are read again.
// Does not own: whether a log is whole (verify-log.ts), and when what is appended (life/).
import { KiB, MiB } from "../../../base/units.ts";
import type { Digest } from "../../../base/ids.ts";
import type { JobHead, JobPage } from "../rows.ts";
import type { NumberedEvent } from "../../ports.ts";
import { nextLink } from "./chain.ts";
import { encodeEvent, type EventOrigin, type JobEvent } from "./event.ts";
import { readEvent } from "./upcast.ts";

/** Events of one append: 64 of code, and one that ends a phase. Readers find the page of an event by it. */
export const PAGE_EVENTS_MAX = 65;
/** Of one append: the value of one row is 512 KiB at most, keys and heads of lists included. */
export const PAGE_EVENT_BYTES_MAX = 480 * KiB;
/** Of one run of a job: what is longer takes too long to replay. */
export const LOG_EVENTS_MAX = 100_000;
export const LOG_BYTES_MAX = 64 * MiB;

/** Whether half of what a run's log may have is used: its code should continue as a new run soon. */
export function isHalfFull({ seq, bytes }: Pick<JobHead, "seq" | "bytes">): boolean {
  return seq >= LOG_EVENTS_MAX / 2 || bytes >= LOG_BYTES_MAX / 2;
}

/** One append, and where the log ends with it. */
export interface Appended {
  readonly page: JobPage;
  readonly seq: number;
  readonly link: Uint8Array;
  /** Of the new events. */
  readonly bytes: number;
}

export function appendToLog(
  { seq: after, link: prev }: Pick<JobHead, "seq" | "link">,
  events: readonly JobEvent[],
  origin: EventOrigin,
): Appended {
  const encoded: Uint8Array[] = [];
  let link = prev;
  let bytes = 0;
  let seq = after;
  for (const event of events) {
    const stored = encodeEvent(event, origin);
    seq += 1;
    link = nextLink(link, seq, stored);
    bytes += stored.byteLength;
    encoded.push(stored);
  }
  return { page: { prev, events: encoded }, seq, link, bytes };
}

/** A page where it stands in its log. */
export interface PlacedPage {
  readonly run: number;
  /** Number of its first event. */
  readonly seq: number;
  readonly page: JobPage;
}

/** @throws AetherError E_DATA_CORRUPT, E_VERSION */
export function numberedEvents({ run, seq: first, page }: PlacedPage): readonly NumberedEvent[] {
  let link = page.prev;
  return page.events.map((bytes, index) => {
    const seq = first + index;
    link = nextLink(link, seq, bytes);
    return { ...readEvent(bytes), run, seq, link: Buffer.from(link).toString("hex") as Digest };
  });
}
