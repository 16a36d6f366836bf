// The checkers that read the log of changes alone.
import { describe, expect, test } from "vitest";
import { formatKey, LEADER_KEY, type KeyText } from "../../../../src/kvstore/core/key.ts";
import type { KvChangeSet } from "../../../../src/kvstore/core/schema.ts";
import { checkLeaders } from "../../../sim/checkers/leader-checker.ts";
import { checkOnce } from "../../../sim/checkers/once-checker.ts";
import { Violations } from "../../../sim/checkers/violations.ts";

const LED = formatKey({ kind: "data", path: "led/0" });
const X = formatKey({ kind: "data", path: "x" });

function logOf(...puts: readonly (readonly [key: KeyText, value: unknown])[]): readonly KvChangeSet[] {
  return puts.map(([key, value], index) => {
    const revision = index + 1;
    const entry = { key, value, modRevision: revision, createRevision: revision, version: 1 };
    return { revision, changes: [{ kind: "put", entry }] };
  });
}

function judge(check: (log: readonly KvChangeSet[], violations: Violations) => void, log: readonly KvChangeSet[]) {
  const violations = new Violations();
  check(log, violations);
  return violations.first?.check;
}

const term = (epoch: number, holder: string): object => ({ epoch, holder, tag: `${holder}${epoch}` });

describe("of leaders (C12)", () => {
  test("writes of the epoch that rules are right", () => {
    const log = logOf([LEADER_KEY, term(1, "a")], [LED, term(1, "a")], [LEADER_KEY, term(2, "b")], [LED, term(2, "b")]);
    expect(judge(checkLeaders, log)).toBeUndefined();
    expect(checkLeaders(log, new Violations())).toEqual({ epochs: 2, ledWrites: 2 });
  });

  test.each([
    ["a write of a deposed leader", logOf([LEADER_KEY, term(1, "a")], [LEADER_KEY, term(2, "b")], [LED, term(1, "a")])],
    ["two holders of one epoch", logOf([LEADER_KEY, term(1, "a")], [LEADER_KEY, term(1, "b")])],
    ["an epoch left out", logOf([LEADER_KEY, term(2, "a")])],
    ["a write without a leader", logOf([LED, term(1, "a")])],
  ])("%s is a violation", (_what, log) => {
    expect(judge(checkLeaders, log)).toBe("C12");
  });
});

describe("of writes (C8)", () => {
  test("each once is right, whatever they are in", () => {
    const log = logOf([X, "a"], [X, ["a", "b"]], [X, ["a", "b", "c"]], [X, { balance: 1, tag: "d" }]);
    expect(judge(checkOnce, log)).toBeUndefined();
  });

  test("the same one in two revisions is a violation", () => {
    expect(judge(checkOnce, logOf([X, ["b"]], [X, ["a", "b"]]))).toBe("C8");
  });
});
