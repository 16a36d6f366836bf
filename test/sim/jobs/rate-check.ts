// Owns: whether calls of a tool that has a rate keep it: each has taken a token, and no more are added than it says.
import { E, Found } from "./job-book.ts";
import type { JobBooks, StreamTxn } from "./job-books.ts";
import type { Changed } from "./family-check.ts";
import { LOOKS } from "./player.ts";

const PREFIX = "job-rates/";
const TOOL = "look";
/** What the leader has counted and not added yet. */
const CARRIED = 1;

export class RateCheck {
  private readonly books: JobBooks;
  private tokens: number | undefined;
  private taken = 0;
  private granted = 0;
  private readonly added: { readonly atMs: number; readonly count: number }[] = [];

  constructor(books: JobBooks) {
    this.books = books;
  }

  add({ revision, changes }: StreamTxn, changed: readonly Changed[]): void {
    for (const { key, value } of changes) {
      if (key.startsWith(PREFIX) && key.includes(TOOL)) this.take(key, revision, value);
    }
    for (const { type, data } of changed.flatMap(({ added }) => added)) {
      if (type === E.granted && data["tool"] === TOOL) this.granted += 1;
    }
    if (this.granted <= this.taken) return;
    const { granted, taken } = this;
    throw new Found("rates", `${granted} calls of ${TOOL} at revision ${revision}, for which ${taken} were taken`);
  }

  private take(key: string, revision: number, value: unknown): void {
    const { tokens } = value as { readonly tokens: number };
    const before = this.tokens ?? 0;
    this.tokens = tokens;
    if (tokens > LOOKS.burst) throw new Found("rates", `${tokens} calls of ${TOOL} at once at revision ${revision}`);
    if (tokens <= before) this.taken += before - tokens;
    else this.fill(tokens - before, this.proposedAt(key, tokens, revision));
  }

  private proposedAt(key: string, tokens: number, revision: number): number | undefined {
    const { refills, revisions } = this.books;
    const knownMs = revisions.find((one) => one.revision >= revision)?.atMs ?? Number.POSITIVE_INFINITY;
    return refills.findLast((one) => one.key === key && one.tokens === tokens && one.atMs <= knownMs)?.atMs;
  }

  /** Of any time before. */
  private fill(count: number, atMs: number | undefined): void {
    if (atMs === undefined) return;
    this.added.push({ atMs, count });
    let sum = 0;
    for (const earlier of [...this.added].reverse()) {
      sum += earlier.count;
      const most = LOOKS.burst + CARRIED + ((atMs - earlier.atMs) / 1_000) * LOOKS.perSecond;
      if (sum > most) throw new Found("rates", `${sum} calls of ${TOOL} are let go in ${atMs - earlier.atMs} ms`);
    }
  }
}
