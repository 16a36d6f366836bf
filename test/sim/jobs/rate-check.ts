// Owns: whether calls keep the rates of a tool and of a model: each has taken its tokens, and no more are added than
// the rate says.
import { E, Found, type Event } from "./job-book.ts";
import type { JobBooks, Refill, StreamTxn } from "./job-books.ts";
import type { Changed } from "./family-check.ts";
import { LOOKS, MODEL_TOKENS, MODEL_TOKENS_USED } from "./player.ts";

const PREFIX = "job-rates/";
/** What the leader has counted and not added yet. */
const CARRIED = 1;

interface Rate {
  readonly name: string;
  readonly perSecond: number;
  readonly burst: number;
  /** Tokens that must have been taken when this happens. */
  readonly costOf: (event: Event) => number;
}

const RATES: readonly Rate[] = [
  { name: "look", ...LOOKS, costOf: ({ type, data }) => (type === E.granted && data["tool"] === "look" ? 1 : 0) },
  {
    name: "tokens", ...MODEL_TOKENS,
    costOf: ({ type, data }) => (type === E.succeeded && data["usage"] !== undefined ? MODEL_TOKENS_USED : 0),
  },
];

export class RateCheck {
  private readonly buckets: readonly BucketCheck[];

  constructor(books: JobBooks) {
    this.buckets = RATES.map((rate) => new BucketCheck(rate, books));
  }

  add(txn: StreamTxn, changed: readonly Changed[]): void {
    for (const bucket of this.buckets) bucket.add(txn, changed);
  }
}

class BucketCheck {
  private readonly rate: Rate;
  private readonly books: JobBooks;
  private tokens: number | undefined;
  private taken = 0;
  private used = 0;
  private readonly added: { readonly atMs: number; readonly count: number }[] = [];

  constructor(rate: Rate, books: JobBooks) {
    this.rate = rate;
    this.books = books;
  }

  add({ revision, changes }: StreamTxn, changed: readonly Changed[]): void {
    const { name, costOf } = this.rate;
    for (const { key, value } of changes) {
      if (key.startsWith(PREFIX) && key.includes(name)) this.take(key, revision, value);
    }
    for (const event of changed.flatMap(({ added }) => added)) this.used += costOf(event);
    if (this.used <= this.taken) return;
    throw new Found("rates", `${this.used} of ${name} used at revision ${revision}, and ${this.taken} taken`);
  }

  private take(key: string, revision: number, value: unknown): void {
    const { tokens } = value as { readonly tokens: number };
    const { name, burst } = this.rate;
    const before = this.tokens ?? 0;
    this.tokens = tokens;
    if (tokens > burst) throw new Found("rates", `${tokens} of ${name} at once at revision ${revision}`);
    if (tokens <= before) this.taken += before - tokens;
    else this.rise(tokens - before, this.proposed(key, tokens, revision));
  }

  private rise(count: number, proposed: Refill | undefined): void {
    if (proposed?.isGivenBack === true) this.taken -= count;
    else if (proposed !== undefined) this.fill(count, proposed.atMs);
  }

  private proposed(key: string, tokens: number, revision: number): Refill | undefined {
    const { refills, revisions } = this.books;
    const knownMs = revisions.find((one) => one.revision >= revision)?.atMs ?? Number.POSITIVE_INFINITY;
    return refills.findLast((one) => one.key === key && one.tokens === tokens && one.atMs <= knownMs);
  }

  /** Of any time before. */
  private fill(count: number, atMs: number): void {
    const { name, perSecond, burst } = this.rate;
    this.added.push({ atMs, count });
    let sum = 0;
    for (const earlier of [...this.added].reverse()) {
      sum += earlier.count;
      const most = burst + CARRIED + ((atMs - earlier.atMs) / 1_000) * perSecond;
      if (sum > most) throw new Found("rates", `${sum} of ${name} are let go in ${atMs - earlier.atMs} ms`);
    }
  }
}
