import { expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { formatKey } from "../../../../src/kvstore/core/key.ts";
import type { KvChangeSet } from "../../../../src/kvstore/core/schema.ts";
import { StreamChecker } from "../../../sim/checkers/stream-checker.ts";
import { Violations } from "../../../sim/checkers/violations.ts";

const A = parseNodeId("a");
const B = parseNodeId("b");
const KEY = formatKey({ kind: "data", path: "x" });

function change(revision: number, value = `v${revision}`): KvChangeSet {
  const entry = { key: KEY, value, modRevision: revision, createRevision: 1, version: revision };
  return { revision, changes: [{ kind: "put", entry }] };
}

function create(): { violations: Violations; checker: StreamChecker } {
  const violations = new Violations();
  const checker = new StreamChecker(violations);
  checker.booted(A, 0);
  checker.booted(B, 0);
  return { violations, checker };
}

test("equal streams are accepted, also from a checkpoint on", () => {
  const { violations, checker } = create();
  for (const revision of [1, 2, 3]) checker.changed(A, change(revision));
  checker.booted(B, 1);
  for (const revision of [2, 3]) checker.changed(B, change(revision));
  expect(violations.first).toBeUndefined();
  expect(checker.log.map(({ revision }) => revision)).toEqual([1, 2, 3]);
});

test("a stream that leaves out, repeats or changes a revision is found", () => {
  for (const bad of [change(2), change(0), change(1, "other")]) {
    const { violations, checker } = create();
    checker.changed(A, change(1));
    checker.changed(B, bad);
    expect(violations.first?.check).toBe("C7");
  }
});

test("a replica that starts ahead of everything shown so far is found", () => {
  const { violations, checker } = create();
  checker.booted(B, 1);
  expect(violations.first?.check).toBe("C7");
});
