// Owns: what puts entries into a job's inbox, and wakes the job when it waits for one of them.
// Does not own: what of it becomes events: that is the owner's matter.
// JOB9  No job waits for what its inbox already holds: an entry and the wake are one transaction, and whoever lets a
//       job wait compares that it has seen the whole inbox.
import type { Digest } from "../../../base/ids.ts";
import { storable } from "../../../cluster/core/plain-value.ts";
import { unchanged } from "../../../kvstore/core/guards.ts";
import type { Compare, Op, Txn } from "../../../kvstore/core/schema.ts";
import type { JobView } from "../../ports.ts";
import { INBOX_UNREAD_MAX, wakeOf, type InboxEntry } from "../flow/inbox-entry.ts";
import type { JobRow, Waiting } from "../rows.ts";
import { refuse, type Refused } from "./decide.ts";
import { queueRowOf } from "./hand-back.ts";
import { hasEnded } from "./job-life.ts";
import { headKey, inboxCountKey, inboxKey, queueKey, rowKey, seenKey } from "./job-keys.ts";

/** What a writer of entries has to know of a job. */
export interface InboxView extends Pick<JobView, "ref" | "row" | "rowRevision" | "inbox"> {
  /** Entries that are in the log or were dropped: `head.folded`, which may be older than the rest. */
  readonly folded: number;
}

export interface Arrival {
  readonly entry: InboxEntry;
  /** What it is known by: it arrives once, and whoever comes later hears what is stored of it. */
  readonly seen?: Seen;
  /** What goes with it, and what has to hold for it. */
  readonly then?: readonly Op[];
  readonly compare?: readonly Compare[];
}

export interface Seen {
  readonly digest: Digest;
  readonly value: unknown;
}

export interface InboxTransition {
  readonly kind: "transition";
  /** Its `else` reads the job's row, the count of its inbox, its head, and then the `seen` row of each arrival. */
  readonly txn: Txn;
  /** The job is not waiting any more. */
  readonly isWoken: boolean;
}

/** Entries take the numbers after `view.inbox.last`. Refused when the job has ended, or reads too slowly. */
export function decideInbox(view: InboxView, arrivals: readonly Arrival[], atMs: number): InboxTransition | Refused {
  const { ref, row, inbox, folded } = view;
  if (hasEnded(row.status)) {
    return refuse("E_CONFLICT", `the job has ${row.status === "cancelled" ? "been cancelled" : row.status}`);
  }
  const last = inbox.last + arrivals.length;
  // A job can be ended however little it reads: it is asked to once by people, and once by its deadline.
  const isEnd = arrivals.every(({ entry }) => entry.kind === "cancel");
  if (last - folded > INBOX_UNREAD_MAX && !isEnd) {
    const details = { limit: INBOX_UNREAD_MAX };
    return refuse("E_OVERLOADED", `${inbox.last - folded} entries wait in its inbox; send again later`, details);
  }
  const seen = arrivals.flatMap(({ seen: mark }) =>
    mark === undefined ? [] : [{ key: seenKey(ref, mark.digest), value: storable(mark.value) }]);
  const isWoken = row.waiting !== undefined && arrivals.some(({ entry }) => isWakeOf(row.waiting, entry));
  return {
    kind: "transition",
    isWoken,
    txn: {
      compare: [
        unchanged(rowKey(ref), view.rowRevision),
        unchanged(inboxCountKey(ref), inbox.revision),
        ...seen.map(({ key }) => unchanged(key, 0)),
        ...arrivals.flatMap(({ compare = [] }) => compare),
      ],
      then: [
        ...arrivals.map(({ entry }, index): Op =>
          ({ kind: "put", key: inboxKey(ref, inbox.last + 1 + index), value: storable(entry) })),
        { kind: "put", key: inboxCountKey(ref), value: { last } },
        ...seen.map((put): Op => ({ kind: "put", ...put })),
        ...arrivals.flatMap(({ then = [] }) => then),
        ...(isWoken ? wake(view, atMs) : []),
      ],
      else: [rowKey(ref), inboxCountKey(ref), headKey(ref), ...seen.map(({ key }) => key)]
        .map((key): Op => ({ kind: "get", key })),
    },
  };
}

/** What brings a job that waits back to the queue. */
function wake({ ref, row }: InboxView, atMs: number): readonly Op[] {
  const { waiting, ...rest } = row;
  // A person has seen to it: it is tried as often as at first.
  const claims = waiting?.reason === "stuck" ? { atSeq: 0, count: 0 } : row.claims;
  const next: JobRow = { ...rest, claims, status: "pending", sinceMs: atMs };
  return [
    { kind: "put", key: rowKey(ref), value: next },
    { kind: "put", key: queueKey(ref), value: queueRowOf(next) },
  ];
}

function isWakeOf(waiting: Waiting | undefined, entry: InboxEntry): boolean {
  // Whatever else comes is kept until a person lets the job go on: timers, and programs that know nothing of a restore.
  if (waiting?.reason === "restored") return entry.kind === "release";
  const name = wakeOf(entry);
  return name === undefined || (waiting?.on.includes(name) ?? false);
}
