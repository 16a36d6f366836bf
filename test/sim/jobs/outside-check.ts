// Owns: what was sent outside, against what was granted: JOB3, JOB4, and that nothing happens twice.
import { Found, type JobBook } from "./job-book.ts";
import type { JobBooks, SentRequest } from "./job-books.ts";

const ONCE = new Set(["once", "far", "blind", "asked"]);

export function checkOutside(jobs: ReadonlyMap<string, JobBook>, books: JobBooks): void {
  const { requests, grantsAnswered } = books;
  const calls = new Map([...jobs.values()].flatMap(({ calls: of }) => [...of]));
  const jobOf = new Map([...jobs.values()].flatMap((job) => [...job.calls.keys()].map((key) => [key, job])));
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
      const job = jobOf.get(key);
      const owner = job === undefined ? undefined : ownerAt(job, sentAtMs, books);
      if (owner !== from) {
        const whose = `when the job was ${owner ?? "nobody"}'s`;
        throw new Found("dispatch", `${name} was sent by ${from} at ${sentAtMs} ms, ${whose}`);
      }
    }
    if (!ONCE.has(book.tool)) continue;
    if (sent.length > 1 + book.notDone) {
      throw new Found("effects", `${name}: ${sent.length} sent, found not to have happened ${book.notDone} times`);
    }
    const done = sent.filter(({ isDone }) => isDone).length;
    if (done > 1) throw new Found("effects", `${name} happened ${done} times`);
  }
  for (const [key, times] of books.asked) {
    const book = calls.get(key);
    if (times > (book?.grants ?? 0)) {
      throw new Found("dispatch", `a model was asked ${times} times in ${book?.call ?? key}, granted ${book?.grants}`);
    }
  }
}

/** Whose the job was, as far as anybody knew at that time. */
function ownerAt({ owners }: JobBook, atMs: number, { revisions }: JobBooks): string | undefined {
  const known = revisions.reduce((most, one) => (one.atMs <= atMs ? Math.max(most, one.revision) : most), 0);
  return owners.findLast(({ revision }) => revision <= known)?.node;
}
