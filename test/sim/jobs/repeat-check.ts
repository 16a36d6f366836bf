// Owns: whether a job that does another one again begins with what that one's log says, and with all of it that must
// not happen twice. JOB15
import { isSameData } from "../../../src/slices/core/canonical.ts";
import { isSameAmount } from "./account-check.ts";
import { callIn, E, Found, hasEnded, type Event, type JobBook } from "./job-book.ts";
import type { JobBooks } from "./job-books.ts";
import { applyCall, ONCE } from "./ledger-check.ts";
import type { Seen } from "./player.ts";

interface Repeat {
  readonly job: JobBook;
  readonly old: JobBook;
  readonly added: readonly Event[];
}

/** The job that one which begins with these does again; what it has of that one may have begun so itself. */
export function repeatIn(events: readonly Event[]): string | undefined {
  const repeated = events.findLast(({ type }) => type === E.repeated);
  return events[0]?.type === E.created && repeated !== undefined ? String(repeated.data["of"]) : undefined;
}

export function applyRepeat(where: string, { job, old, added }: Repeat, books: JobBooks): void {
  const refuse = (what: string): never => {
    throw new Found("repeats", `${where}: it does ${old.id} again, ${what}`);
  };
  if (!hasEnded(old.row)) refuse("which has not ended");
  if (old.repeatedBy !== undefined) refuse(`as ${old.repeatedBy} does`);
  old.repeatedBy = job.id;
  const ofRun = old.events.slice(old.events.findLastIndex(({ type }) => type === E.created));
  const { seen = [] } = (job.spec?.input ?? {}) as { readonly seen?: Seen };
  job.of = { job: old.id, run: old.row?.run ?? 0, effectIds: effectIdsIn(ofRun), seenBefore: seen.length };
  const begins = added.findLastIndex(({ type }) => type === E.repeated);
  const kept = added.filter(({ type }, index) => type !== E.created && index !== begins);
  let at = 0;
  for (const event of kept) {
    const isIt = (one: Event, index: number): boolean =>
      index >= at && one.type === event.type && isSameData(one.data, event.data);
    at = ofRun.findIndex(isIt) + 1;
    if (at === 0) refuse(`and its event ${event.type} of ${callIn(event)} is not in that log, or not there`);
    keep(where, job, old, event, books);
  }
  for (const [effectId, book] of job.calls) job.calls.set(effectId, { ...book, before: book });
  const again = books.agains.get(job.id) ?? [];
  const isKept = new Set(kept.map(callIn));
  const lost = ofRun.find((event) => mayNotComeAgain(event, old) && !isKept.has(callIn(event)) &&
    !again.includes(callIn(event)));
  if (lost !== undefined) refuse(`and not with ${callIn(lost)}, which may have happened`);
  if (!isSameAmount(job.spec?.budget, old.account?.limit)) refuse("with another budget");
}

function effectIdsIn(events: readonly Event[]): ReadonlyMap<string, string> {
  return new Map(events.flatMap((event) =>
    (event.type === E.granted ? [[callIn(event), String(event.data["effectId"])] as const] : [])));
}

function mayNotComeAgain({ type, data }: Event, { calls }: JobBook): boolean {
  if (type === E.childStarted) return true;
  if (type !== E.granted || !ONCE.has(String(data["tool"]))) return false;
  const state = calls.get(String(data["effectId"]))?.state;
  return state === "succeeded" || state === "unknown" || state === "given-up";
}

/** What was checked where it happened. */
function keep(where: string, job: JobBook, old: JobBook, event: Event, books: JobBooks): void {
  const { type, data } = event;
  const call = callIn(event);
  if (type === E.timerSet) job.due.set(call, data["dueMs"] as number);
  if (type === E.approvalRequested && data["untilMs"] !== undefined) job.due.set(call, data["untilMs"] as number);
  if (type === E.timerFired) job.fired.add(call);
  if (type === E.value) job.nowMs = Number(data["value"]);
  const child = old.children.get(call);
  if (type === E.childStarted && child !== undefined) job.children.set(call, { ...child, isOver: true });
  if (type >= E.granted && type <= E.resolved) applyCall(where, job, event, books);
}
