// Owns: things with keys, added in any order and found in the order of their keys: short runs, each sorted once, which
// a look merges as far as it gets. What a look costs follows from what it finds, not from how much there is; adding
// sorts a few now and then, and nothing is ever sorted or moved as a whole.
import { compareKeyText, type KeyText } from "./key.ts";

interface Keyed {
  readonly key: KeyText;
}

/** Keys with this prefix, from the first one on that is not before `from`, which is not before the prefix itself. */
export interface KeyRange {
  readonly prefix: string;
  readonly from: KeyText;
}

/** Longer runs take longer to sort at once, more of them make each look longer. */
const RUN_LENGTH = 512;

export class SortedRuns<T extends Keyed> {
  private readonly full: (readonly T[])[] = [];
  private fresh: T[] = [];

  add(thing: T): void {
    this.fresh.push(thing);
    if (this.fresh.length < RUN_LENGTH) return;
    this.full.push(this.fresh.sort(byKey));
    this.fresh = [];
  }

  /** Sorted runs with everything of this range, and more. */
  *runs({ prefix, from }: KeyRange): Generator<readonly T[]> {
    yield* this.full;
    yield this.fresh.filter(({ key }) => key.startsWith(prefix) && compareKeyText(key, from) >= 0).sort(byKey);
  }
}

/** Where a merge is in one of its runs. */
interface Cursor<T> {
  readonly run: readonly T[];
  readonly rank: number;
  at: number;
  next: T;
}

/** Everything of the range in sorted runs, in key order; of things with one key, those of the first run come first. */
export function* inKeyOrder<T extends Keyed>(runs: Iterable<readonly T[]>, range: KeyRange): Generator<T> {
  /** The one with the smallest key is the last. */
  const cursors: Cursor<T>[] = [];
  let rank = 0;
  for (const run of runs) {
    const at = firstFrom(run, range.from);
    const next = run[at];
    if (next?.key.startsWith(range.prefix) === true) insert(cursors, { run, rank, at, next });
    rank += 1;
  }
  for (let cursor = cursors.pop(); cursor !== undefined; cursor = cursors.pop()) {
    yield cursor.next;
    cursor.at += 1;
    const next = cursor.run[cursor.at];
    // Keys with one prefix are neighbours.
    if (next?.key.startsWith(range.prefix) !== true) continue;
    cursor.next = next;
    insert(cursors, cursor);
  }
}

function insert<T extends Keyed>(cursors: Cursor<T>[], cursor: Cursor<T>): void {
  const place = bisect(cursors, (other) => (byKey(other.next, cursor.next) || other.rank - cursor.rank) > 0);
  cursors.splice(place, 0, cursor);
}

function firstFrom(run: readonly Keyed[], from: KeyText): number {
  return bisect(run, ({ key }) => compareKeyText(key, from) < 0);
}

/** How many of the first items `isBefore` holds for; it holds for none after one that it does not hold for. */
function bisect<T>(items: readonly T[], isBefore: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = items[middle];
    if (item !== undefined && isBefore(item)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function byKey(a: Keyed, b: Keyed): number {
  return compareKeyText(a.key, b.key);
}
