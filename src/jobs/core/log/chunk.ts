// Owns: chunks: pages of a log once more, many in one row, so that a long log is read in few rows. The events are the
// same bytes, so that the chain holds for them too; the pages stay, and count where a chunk is not what they are.
// Does not own: when a chunk is written (running/run-chunks.ts), reading and writing it (stored-log.ts).
import { KiB } from "../../../base/units.ts";
import type { PlacedPage } from "./page.ts";

/** Of one chunk; as soon as there are so many events after the last one, another one is written. */
export const CHUNK_EVENTS_MAX = 1_000;
/** Of its events, unless its first page has more: the value of one row is 512 KiB at most. */
export const CHUNK_BYTES_MAX = 400 * KiB;

/** The first of these pages, which follow each other, as one; undefined when there are none. */
export function chunkOf(pages: readonly PlacedPage[]): PlacedPage | undefined {
  const [first] = pages;
  if (first === undefined) return undefined;
  const events: Uint8Array[] = [];
  let bytes = 0;
  for (const { seq, page } of pages) {
    bytes += page.events.reduce((sum, event) => sum + event.byteLength, 0);
    const isOver = events.length + page.events.length > CHUNK_EVENTS_MAX || bytes > CHUNK_BYTES_MAX;
    const follows = seq === first.seq + events.length;
    if (events.length > 0 && (isOver || !follows)) break;
    events.push(...page.events);
  }
  return { run: first.run, seq: first.seq, page: { prev: first.page.prev, events } };
}

/** Those of the chunks that follow each other from the first event on. */
export function leadingChunks(chunks: readonly PlacedPage[]): readonly PlacedPage[] {
  const leading: PlacedPage[] = [];
  let next = 1;
  for (const chunk of chunks) {
    if (chunk.seq !== next) continue;
    leading.push(chunk);
    next += chunk.page.events.length;
  }
  return leading;
}

/** The number of the last event of these, which begin with the first one. */
export function lastOf(pages: readonly PlacedPage[]): number {
  const last = pages.at(-1);
  return last === undefined ? 0 : last.seq + last.page.events.length - 1;
}
