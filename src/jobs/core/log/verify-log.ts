// Owns: whether a log is whole: every event in its place with the bytes that were appended, up to the end that the head
// names. Does not own: whether ledger and result agree with the events.
import type { JobUid } from "../ids.ts";
import type { JobHead } from "../rows.ts";
import { firstLink, isSameLink, nextLink } from "./chain.ts";
import type { PlacedPage } from "./page.ts";

export interface LogOwner {
  readonly uid: JobUid;
  readonly run: number;
  readonly head: Pick<JobHead, "seq" | "link">;
}

export type LogVerdict =
  | { readonly kind: "whole" }
  /**
   * `seq`: from this event on the log cannot be trusted. It is the first one of a page that is wrong, or is followed by
   * what does not fit.
   */
  | { readonly kind: "broken"; readonly seq: number; readonly reason: string };

/** `pages` in the order of their keys. Each is vouched for by what follows: the next page, or the head. */
export function verifyLog({ uid, run, head }: LogOwner, pages: Iterable<PlacedPage>): LogVerdict {
  let seq = 0;
  let link = firstLink(uid, run);
  /** The first event of the page that was read last. */
  let unproved = 1;
  for (const { seq: first, page } of pages) {
    if (first > seq + 1) return broken(unproved, `${first - seq - 1} events before ${first} are missing`);
    if (first <= seq) return broken(unproved, `there are too many events before ${first}`);
    if (!isSameLink(page.prev, link)) return broken(unproved, `an event before ${first} is not as it was appended`);
    unproved = first;
    for (const bytes of page.events) {
      seq += 1;
      link = nextLink(link, seq, bytes);
    }
  }
  if (seq < head.seq) return broken(unproved, `${head.seq - seq} events up to ${head.seq} are missing`);
  if (seq > head.seq) return broken(unproved, `the job's head ends the log at ${head.seq}`);
  if (!isSameLink(link, head.link)) return broken(unproved, `an event up to ${seq} is not as it was appended`);
  return { kind: "whole" };
}

function broken(seq: number, reason: string): LogVerdict {
  return { kind: "broken", seq, reason };
}
