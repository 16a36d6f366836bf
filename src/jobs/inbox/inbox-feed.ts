// Owns: telling the owner of a job each entry of its inbox once: those that are there, then those that come.
// Does not own: what an entry means (core/run/run-waits.ts).
import { AetherError, toAetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log } from "../../env/telemetry.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import { knownKey, prefixOf } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { listRows } from "../../slices/list-rows.ts";
import { parseInboxEntry, type InboxEntry } from "../core/flow/inbox-entry.ts";
import { headKey, inboxCountKey } from "../core/life/job-keys.ts";
import { parseInboxCount, parseJobHead } from "../core/rows.ts";
import type { InboxArrival } from "../running/job-run.ts";
import type { JobWatch } from "../job-watch.ts";

export interface InboxFeedPorts {
  readonly kv: Pick<Kv, "get" | "list">;
  readonly watch: Pick<JobWatch, "listen">;
}

/** After a read that failed: the job does not wait for anything before it knows its inbox. */
const READ_AGAIN_MS = SECOND_MS;

/** Made once: a signal that is aborted without a reason makes one for each job, with its stack. */
const NOBODY_LISTENS = new AetherError("E_FENCED", "the job goes on elsewhere, or has ended");

/** Returns what ends it. */
export function followInbox(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  { kv, watch }: InboxFeedPorts,
  ref: JobRef,
  onArrival: (arrival: InboxArrival) => void,
): () => void {
  const known = new Set<number>();
  const stop = new AbortController();
  const tell = (n: number, value: unknown, revision: number): void => {
    if (known.has(n) || stop.signal.aborted) return;
    known.add(n);
    onArrival({ n, entry: parseEntry(n, value), revision });
  };
  const parseEntry = (n: number, value: unknown): InboxEntry | undefined => {
    try {
      return parseInboxEntry(value);
    } catch (error) {
      log.error({ event: "jobs.bad-inbox-entry", job: ref.job, n, reason: toAetherError(error).message });
      return undefined;
    }
  };
  const read = async (): Promise<void> => {
    try {
      // Most jobs have none, and a list looks at all that is not on disk yet.
      if (!await hasUnread(kv, ref, stop.signal)) return;
      const prefix = prefixOf({ kind: "job-inboxes", ...ref });
      const entries = await listRows(kv, prefix, { consistency: "local", signal: stop.signal });
      for (const { key: text, value, modRevision } of entries) {
        const key = knownKey(text);
        if (key?.kind === "job-inbox") tell(key.n, value, modRevision);
      }
    } catch (error) {
      if (stop.signal.aborted) return;
      log.warn({ event: "jobs.inbox-unread", job: ref.job, reason: toAetherError(error).message });
      clock.setTimer(READ_AGAIN_MS, () => void read());
    }
  };
  const unlisten = watch.listen(ref.job, { onEntry: tell, onGap: () => void read() });
  void read();
  return () => {
    stop.abort(NOBODY_LISTENS);
    unlisten();
  };
}

/** Whether the inbox has entries, by what this node has applied. Those that come later are told by the watch. */
async function hasUnread(kv: Pick<Kv, "get">, ref: JobRef, signal: AbortSignal): Promise<boolean> {
  const options = { consistency: "local", signal } as const;
  const { entry: count } = await kv.get(inboxCountKey(ref), options);
  if (count === undefined) return false;
  const { entry: head } = await kv.get(headKey(ref), options);
  return head === undefined || parseInboxCount(count.value).last > parseJobHead(head.value).folded;
}
