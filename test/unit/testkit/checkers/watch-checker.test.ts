import { beforeEach, describe, expect, test } from "vitest";
import { formatKey, type KeyText } from "../../../../src/kvstore/core/key.ts";
import type { KvChange, KvChangeSet } from "../../../../src/kvstore/core/schema.ts";
import { Violations } from "../../../sim/checkers/violations.ts";
import { WatchChecker, type WatchPlace } from "../../../sim/checkers/watch-checker.ts";

const A = formatKey({ kind: "data", path: "a/1" });
const B = formatKey({ kind: "data", path: "b/1" });

function put(key: KeyText, revision: number): KvChange {
  const entry = { key, value: `v${revision}`, modRevision: revision, createRevision: revision, version: 1 };
  return { kind: "put", entry };
}

/** The second transaction is over both keys, the third touches nothing below "data/a/". */
const LOG: readonly KvChangeSet[] = [
  { revision: 1, changes: [put(A, 1)] },
  { revision: 2, changes: [put(A, 2), put(B, 2)] },
  { revision: 3, changes: [put(B, 3)] },
  { revision: 4, changes: [{ kind: "delete", key: A, modRevision: 4 }] },
];
const keyOf = (change: KvChange): KeyText => (change.kind === "put" ? change.entry.key : change.key);
const shownOf = (revision: number): KvChangeSet => {
  return { revision, changes: LOG[revision - 1]?.changes.filter((change) => keyOf(change) === A) ?? [] };
};

let violations: Violations;
let checker: WatchChecker;
let place: WatchPlace;

beforeEach(() => {
  violations = new Violations();
  checker = new WatchChecker(() => LOG, violations);
  place = { name: "watcher", prefix: "data/a/", next: 1 };
});

describe("the watch checker accepts", () => {
  test("every transaction that matches, in order", () => {
    for (const revision of [1, 2, 4]) checker.shown(place, shownOf(revision));
    expect(violations.first).toBeUndefined();
    expect(checker.isComplete(place)).toBe(true);
  });

  test("progress over what does not match", () => {
    for (const revision of [1, 2]) checker.shown(place, shownOf(revision));
    checker.progressed(place, 3);
    expect(violations.first).toBeUndefined();
    expect(place.next).toBe(4);
    expect(checker.isComplete(place)).toBe(false);
  });

  test("a gap where the past is not held", () => {
    checker.compacted(place, { from: 1, oldest: 3, revision: 3 });
    checker.shown(place, shownOf(4));
    expect(violations.first).toBeUndefined();
  });
});

describe("the watch checker refuses", () => {
  const refused = (): string | undefined => violations.first?.message;

  test("a revision that is left out", () => {
    checker.shown(place, shownOf(1));
    checker.shown(place, shownOf(4));
    expect(refused()).toMatch(/was not shown revision 2/);
  });

  test("a revision that comes again", () => {
    checker.shown(place, shownOf(1));
    checker.shown(place, shownOf(1));
    expect(refused()).toMatch(/was shown revision 1 again/);
  });

  test("a transaction that is torn", () => {
    place = { name: "watcher", prefix: "data/", next: 2 };
    checker.shown(place, shownOf(2));
    expect(refused()).toMatch(/at 2, not/);
  });

  test("progress beyond what was not shown", () => {
    checker.progressed(place, 1);
    expect(refused()).toMatch(/was not shown revision 1/);
  });

  test("a gap where the past is held", () => {
    checker.compacted(place, { from: 1, oldest: 1, revision: 3 });
    expect(refused()).toMatch(/was refused 1 by a node at 3/);
  });

  test("a gap that hides what was not shown before it", () => {
    checker.compacted(place, { from: 3, oldest: 4, revision: 4 });
    expect(refused()).toMatch(/was not shown revision 1/);
  });
});
