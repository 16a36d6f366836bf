import { beforeEach, describe, expect, test } from "vitest";
import { present } from "../../../src/base/assert.ts";
import { sha256 } from "../../../src/base/digest.ts";
import { parseArtifactId, parseNodeId, type Digest } from "../../../src/base/ids.ts";
import type { PlacedRollout } from "../../../src/cluster/cluster-views.ts";
import type { Row, RowListener } from "../../../src/cluster/row-view.ts";
import { CallTallies } from "../../../src/cluster/rollouts/call-tallies.ts";
import { CANARIES_MAX, TALLIES_TOLD_MAX, type RolloutTally } from "../../../src/cluster/rollouts/core/version-tally.ts";
import { formatKey } from "../../../src/kvstore/core/key.ts";
import type { RolloutRow } from "../../../src/slices/core/rollout-row.ts";

const [OLD, NEW, OTHER] = ["old", "new", "other"].map((text) => sha256(text)) as [Digest, Digest, Digest];
const N2 = parseNodeId("n2");
const N3 = parseNodeId("n3");
const NOTHING = { calls: 0, errors: 0 };

let rows: Row<PlacedRollout>[];
let onRows: RowListener;
let tallies: CallTallies;

beforeEach(() => {
  rows = [];
  tallies = new CallTallies({ rowsInKeyOrder: () => rows, subscribe: (listener) => void (onRows = listener) });
});

function rolloutOf(slice: string, modRevision: number, changes: Partial<RolloutRow> = {}): Row<PlacedRollout> {
  const artifact = parseArtifactId(`demo:${slice}:1.0.0`);
  const row: RolloutRow = {
    strategy: "canary", stage: "shifting", sinceMs: 0,
    target: { artifact, specDigest: NEW, revision: 2 }, previous: { artifact, specDigest: OLD, revision: 1 },
    ...changes,
  };
  const text = formatKey({ kind: "rollout", blueprint: "shop", slice });
  return { text, modRevision, value: { blueprint: "shop", slice, row } };
}

function follow(...current: readonly Row<PlacedRollout>[]): void {
  rows = [...current];
  onRows(current.map(({ text }) => text));
}

function note(slice: string, specDigest: Digest | undefined, outcome: "ok" | "failed" = "ok", ms = 1): void {
  tallies.note({ slice, specDigest, outcome, ms });
}

describe("calls of this node", () => {
  test("are counted by version, those of an endpoint that does not say its version as ones of the previous", () => {
    follow(rolloutOf("orders", 7));
    note("orders", NEW, "ok", 3);
    note("orders", NEW, "failed", 100);
    note("orders", OLD);
    note("orders", undefined);
    const { target, previous } = present(tallies.sumOf("orders", 7), "it is counted");
    expect([target, previous]).toMatchObject([{ calls: 2, errors: 1 }, { calls: 2, errors: 0 }]);
    expect(target.buckets.reduce((sum, count) => sum + count, 0)).toBe(2);
  });

  test("of a third version, of another slice, or outside of a canary's steps, are not", () => {
    note("orders", NEW);
    follow(rolloutOf("orders", 7), rolloutOf("stock", 8, { strategy: "rolling" }));
    note("orders", OTHER);
    note("pricing", NEW);
    note("stock", NEW);
    expect(tallies.tell()).toMatchObject([{ slice: "orders", target: NOTHING, previous: NOTHING }]);
    follow(rolloutOf("orders", 9, { stage: "rolling-back" }));
    note("orders", NEW);
    expect(tallies.tell()).toEqual([]);
  });

  test("are kept while the row stands as it is, and begin anew with the next one", () => {
    follow(rolloutOf("orders", 7));
    note("orders", NEW);
    follow(rolloutOf("orders", 7), rolloutOf("stock", 8));
    expect(tallies.sumOf("orders", 7)?.target).toMatchObject({ calls: 1 });
    follow(rolloutOf("orders", 9, { step: 1 }), rolloutOf("stock", 8));
    expect(tallies.tell()).toMatchObject([
      { slice: "orders", rollout: 9, target: NOTHING }, { slice: "stock", rollout: 8, target: NOTHING },
    ]);
    expect(tallies.sumOf("orders", 7)).toBeUndefined();
  });

  const namesOf = (count: number): readonly string[] =>
    Array.from({ length: count }, (_, at) => `s${String(at).padStart(3, "0")}`);

  test("are told in turns where one message has no room for all canaries", () => {
    const names = namesOf(2 * TALLIES_TOLD_MAX + 1);
    follow(...names.map((name) => rolloutOf(name, 1)));
    for (const name of names) note(name, NEW);
    const told = Array.from({ length: 3 }, () => tallies.tell());
    for (const tallies of told) expect(tallies).toHaveLength(TALLIES_TOLD_MAX);
    expect(new Set(told.flat().map(({ slice }) => slice))).toEqual(new Set(names));
    for (const name of names) expect(tallies.sumOf(name, 1)?.target.calls).toBe(1);
  });

  test("are not counted for more canaries than there may be at once; one that has begun keeps its place", () => {
    const names = namesOf(CANARIES_MAX + 1);
    const canaries = names.map((name) => rolloutOf(name, 1, { targetShare: 0 }));
    const last = present(names.at(-1), "there are names");
    follow(...canaries);
    expect(tallies.sumOf(last, 1)).toBeUndefined();
    follow(...canaries.slice(1));
    note(last, NEW);
    follow(...canaries.slice(1, -1), rolloutOf(last, 2, { targetShare: 100 }));
    note(last, NEW);
    follow(...canaries.slice(0, -1), rolloutOf(last, 2, { targetShare: 100 }));
    expect(tallies.sumOf(last, 2)?.target.calls).toBe(1);
    expect(names.filter((name) => name !== last && tallies.sumOf(name, 1) === undefined)).toEqual([names.at(-2)]);
  });

  test("to a canary that goes back to what was there before are not counted", () => {
    follow(rolloutOf("orders", 7, { isReturn: true, targetShare: 10_000 }));
    expect(tallies.sumOf("orders", 7)).toBeUndefined();
  });
});

describe("what other nodes say", () => {
  const said = (rollout: number, calls: number): RolloutTally => ({
    slice: "orders", rollout,
    target: { calls, errors: 1, buckets: [calls] }, previous: { calls: 1, errors: 0, buckets: [1] },
  });

  test("is added to what this one has counted, of the same row alone", () => {
    follow(rolloutOf("orders", 7));
    note("orders", NEW);
    tallies.hear(N2, [said(7, 10)]);
    tallies.hear(N3, [said(6, 100)]);
    expect(tallies.sumOf("orders", 7)).toEqual({
      target: { calls: 11, errors: 1, buckets: [11] }, previous: { calls: 1, errors: 0, buckets: [1] },
    });
    expect(tallies.tell()).toMatchObject([{ target: { calls: 1 } }]);
  });

  test("is kept of the canaries that are not in this message, and of none that has ended", () => {
    const stock = { ...said(8, 5), slice: "stock" };
    follow(rolloutOf("orders", 7), rolloutOf("stock", 8));
    tallies.hear(N2, [said(7, 10)]);
    tallies.hear(N2, [stock, { ...stock, slice: "unknown" }]);
    expect([tallies.sumOf("orders", 7)?.target.calls, tallies.sumOf("stock", 8)?.target.calls]).toEqual([10, 5]);
    follow(rolloutOf("stock", 8));
    follow(rolloutOf("orders", 7), rolloutOf("stock", 8), rolloutOf("unknown", 8));
    expect([tallies.sumOf("orders", 7), tallies.sumOf("unknown", 8)]).toMatchObject([
      { target: NOTHING }, { target: NOTHING },
    ]);
  });

  test("takes the place of what the same node said before, also when that is nothing", () => {
    follow(rolloutOf("orders", 7));
    tallies.hear(N2, [said(7, 10)]);
    tallies.hear(N2, [said(7, 12)]);
    expect(tallies.sumOf("orders", 7)?.target.calls).toBe(12);
    tallies.hear(N2, []);
    expect(tallies.sumOf("orders", 7)?.target.calls).toBe(0);
  });
});
