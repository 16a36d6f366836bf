// Owns: what a watcher may be shown, wherever it watches and however often it moves: from its first revision on, every
// transaction that matches, whole, in order, once; and a gap only where a node says honestly that the past is not held.
import { isDeepStrictEqual } from "node:util";
import type { KvChange, KvChangeSet } from "../../../src/kvstore/core/schema.ts";
import type { Violations } from "./violations.ts";

export interface WatchStats {
  /** Sets of changes that watchers were shown. */
  watched: number;
  /** Times that a watcher went on at another node, or in another life of its node. */
  watchesResumed: number;
  /** Times that a watcher was told that what follows is not held any more. */
  watchesCompacted: number;
}

/** What one watcher has seen: all that matches below `next`, but for gaps that it was told of. */
export interface WatchPlace {
  readonly name: string;
  readonly prefix: string;
  next: number;
}

/** What a node says that does not hold what comes next. */
export interface WatchGap {
  readonly from: number;
  /** The first revision it holds. */
  readonly oldest: number;
  /** The one it is at. */
  readonly revision: number;
}

export class WatchChecker {
  readonly stats: WatchStats = { watched: 0, watchesResumed: 0, watchesCompacted: 0 };
  private readonly log: () => readonly KvChangeSet[];
  private readonly violations: Violations;

  /** `log` is the complete stream of changes, as far as any replica has applied it. */
  constructor(log: () => readonly KvChangeSet[], violations: Violations) {
    this.log = log;
    this.violations = violations;
  }

  /** The watcher was shown this set. */
  shown(place: WatchPlace, { revision, changes }: KvChangeSet): void {
    this.stats.watched += 1;
    if (revision < place.next) this.report(place, `was shown revision ${revision} again`);
    this.skipped(place, revision);
    const expected = this.matching(place, revision);
    if (!isDeepStrictEqual(changes, expected)) {
      this.report(place, `was shown ${JSON.stringify(changes)} at ${revision}, not ${JSON.stringify(expected)}`);
    }
    place.next = Math.max(place.next, revision + 1);
  }

  /** The watcher was told that it has seen everything up to this revision. */
  progressed(place: WatchPlace, revision: number): void {
    if (revision > this.log().length) this.report(place, `was told of revision ${revision}, which nobody has`);
    this.skipped(place, revision + 1);
    place.next = Math.max(place.next, revision + 1);
  }

  /** What follows is not held by the node; the watcher reads the state there and goes on. */
  compacted(place: WatchPlace, gap: WatchGap): void {
    const { from, oldest, revision } = gap;
    this.stats.watchesCompacted += 1;
    if (oldest <= from || revision < from) {
      this.report(place, `was refused ${from} by a node at ${revision} that holds ${oldest} and what follows`);
    }
    this.skipped(place, from);
    place.next = Math.max(place.next, revision + 1);
  }

  /** Whether there is nothing more to be shown. */
  isComplete({ prefix, next }: WatchPlace): boolean {
    return this.log().slice(next - 1).every(({ changes }) => !changes.some((change) => isIn(prefix, change)));
  }

  /** Everything before `revision` must have been shown if it matches. */
  private skipped(place: WatchPlace, revision: number): void {
    for (let at = place.next; at < revision; at += 1) {
      if (this.matching(place, at).length > 0) this.report(place, `was not shown revision ${at}`);
    }
  }

  private matching({ prefix }: WatchPlace, revision: number): readonly KvChange[] {
    return this.log()[revision - 1]?.changes.filter((change) => isIn(prefix, change)) ?? [];
  }

  private report({ name, prefix }: WatchPlace, message: string): void {
    this.violations.report("watches", `${name}, which watches "${prefix}", ${message}`);
  }
}

function isIn(prefix: string, change: KvChange): boolean {
  return (change.kind === "put" ? change.entry.key : change.key).startsWith(prefix);
}
