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
  /** `seq`: the first event that cannot be trusted. */
  | { readonly kind: "broken"; readonly seq: number; readonly reason: string };

/** `pages` in the order of their keys. What was changed within a page shows at the next page's first event. */
export function verifyLog({ uid, run, head }: LogOwner, pages: Iterable<PlacedPage>): LogVerdict {
  let seq = 0;
  let link = firstLink(uid, run);
  /** Where the page begins that was read last: its events are vouched for by what follows it. */
  let unproved = 1;
  for (const { seq: first, page } of pages) {
    if (first > seq + 1) return broken(seq + 1, `events ${seq + 1} to ${first - 1} are missing`);
    if (first <= seq) return broken(first, "it is there twice");
    if (!isSameLink(page.prev, link)) return broken(unproved, `it, or one up to ${seq}, is not as it was appended`);
    unproved = first;
    for (const bytes of page.events) {
      seq += 1;
      link = nextLink(link, seq, bytes);
    }
  }
  if (seq < head.seq) return broken(seq + 1, `events ${seq + 1} to ${head.seq} are missing`);
  if (seq > head.seq) return broken(head.seq + 1, `the job's head ends the log at ${head.seq}`);
  if (!isSameLink(link, head.link)) return broken(unproved, `it, or one up to ${seq}, is not as it was appended`);
  return { kind: "whole" };
}

function broken(seq: number, reason: string): LogVerdict {
  return { kind: "broken", seq, reason };
}
