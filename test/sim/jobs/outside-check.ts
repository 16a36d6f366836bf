// Owns: what was sent outside, against what was granted: JOB3, JOB4, and that nothing happens twice.
import { Found, type CallBook, type JobBook } from "./job-book.ts";
import type { JobBooks, SentRequest } from "./job-books.ts";
import { ONCE } from "./ledger-check.ts";

export function checkOutside(jobs: ReadonlyMap<string, JobBook>, books: JobBooks): void {
  const { requests, grantsAnswered } = books;
  const calls = callsOf(jobs, books);
  const byKey = new Map<string, SentRequest[]>();
  for (const request of requests) byKey.set(request.key, [...byKey.get(request.key) ?? [], request]);
  for (const [key, sent] of byKey) {
    const book = calls.get(key);
    const first = sent[0];
    const name = `${first?.tool ?? ""} ${book?.call ?? key}`;
    if (book === undefined) throw new Found("dispatch", `${name} was sent under an id that no log has`);
    if (sent.length > book.grants) throw new Found("dispatch", `${name}: ${sent.length} sent, ${book.grants} granted`);
    for (const { from, sentAtMs } of sent) {
      const before = grantsAnswered.filter(({ node, effectId, atMs }) =>
        node === from && effectId === key && atMs <= sentAtMs).length;
      const already = sent.filter((other) => other.from === from && other.sentAtMs <= sentAtMs).length;
      if (already > before) throw new Found("dispatch", `${name} was sent by ${from} before its grant was stored`);
      const owners = book.jobs.map((job) => ownerAt(job, sentAtMs, books));
      if (!owners.includes(from)) {
        const whose = `when the job was ${owners.find((owner) => owner !== undefined) ?? "nobody"}'s`;
        throw new Found("dispatch", `${name} was sent by ${from} at ${sentAtMs} ms, ${whose}`);
      }
    }
    if (!ONCE.has(book.tool)) continue;
    if (sent.length > 1 + book.notDone + book.again) {
      throw new Found("effects", `${name}: ${sent.length} sent, found not to have happened ${book.notDone} times`);
    }
    const done = sent.filter(({ isDone }) => isDone).length;
    if (done > 1 + book.again) throw new Found("effects", `${name} happened ${done} times`);
  }
  for (const [key, times] of books.asked) {
    const book = calls.get(key);
    if (times > (book?.grants ?? 0)) {
      throw new Found("dispatch", `a model was asked ${times} times in ${book?.call ?? key}, granted ${book?.grants}`);
    }
  }
}

/** What all jobs that do each other again have made of one call. */
interface Call extends Pick<CallBook, "tool" | "call" | "grants" | "notDone"> {
  readonly jobs: readonly JobBook[];
  /** How often somebody asked for it to be made again, although it may have happened. */
  readonly again: number;
}

function callsOf(jobs: ReadonlyMap<string, JobBook>, books: JobBooks): ReadonlyMap<string, Call> {
  const found = new Map<string, Call>();
  for (const job of jobs.values()) {
    for (const [effectId, { tool, call, grants, notDone, before }] of job.calls) {
      const known = found.get(effectId) ?? { grants: 0, notDone: 0, again: 0, jobs: [] };
      found.set(effectId, {
        tool, call, jobs: [...known.jobs, job],
        grants: known.grants + grants - (before?.grants ?? 0),
        notDone: known.notDone + notDone - (before?.notDone ?? 0),
        again: known.again + (isWanted(jobs, job, call, books) ? 1 : 0),
      });
    }
  }
  return found;
}

/** Whether somebody asked for the call to be made again, or for the child whose it is. */
function isWanted(jobs: ReadonlyMap<string, JobBook>, job: JobBook, call: string, books: JobBooks): boolean {
  if (books.agains.get(job.id)?.includes(call) === true) return true;
  const { parent } = job.spec ?? {};
  const of = jobs.get(parent?.job ?? "");
  return parent !== undefined && of !== undefined && isWanted(jobs, of, parent.call, books);
}

/** Whose the job was, as far as anybody knew at that time. */
function ownerAt({ owners }: JobBook, atMs: number, { revisions }: JobBooks): string | undefined {
  const known = revisions.reduce((most, one) => (one.atMs <= atMs ? Math.max(most, one.revision) : most), 0);
  return owners.findLast(({ revision }) => revision <= known)?.node;
}
