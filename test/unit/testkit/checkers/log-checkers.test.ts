// The checkers that read the log of changes alone.
import { describe, expect, test } from "vitest";
import { formatKey, LEADER_KEY, type KeyText } from "../../../../src/kvstore/core/key.ts";
import type { KvChangeSet } from "../../../../src/kvstore/core/schema.ts";
import { CLIENT_LEADER_KEY } from "../../../sim/workloads/leading.ts";
import { checkLeaders } from "../../../sim/checkers/leader-checker.ts";
import { checkOnce } from "../../../sim/checkers/once-checker.ts";
import { Violations } from "../../../sim/checkers/violations.ts";

const LED = formatKey({ kind: "data", path: "led/0" });
const OFFICE = formatKey({ kind: "data", path: "office/0" });
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
/** As nodes write it: holders in the rows are lives of nodes. */
const row = (epoch: number, node: string): object => {
  return { epoch, holder: { node, uid: node.repeat(16), incarnation: 3 } };
};
const work = (epoch: number, node: string): object => term(epoch, `${node}/3`);

describe.each([
  { who: "clients", leader: CLIENT_LEADER_KEY, led: LED, taken: term, written: term, counted: ["epochs", "ledWrites"] },
  { who: "nodes", leader: LEADER_KEY, led: OFFICE, taken: row, written: work, counted: ["nodeEpochs", "nodeWrites"] },
] as const)("of leaders among $who (C12)", ({ leader, led, taken, written, counted }) => {
  test("writes of the epoch that rules are right", () => {
    const first = [[leader, taken(1, "a")], [led, written(1, "a")]] as const;
    const log = logOf(...first, [leader, taken(2, "b")], [led, written(2, "b")]);
    expect(judge(checkLeaders, log)).toBeUndefined();
    const none = { epochs: 0, ledWrites: 0, nodeEpochs: 0, nodeWrites: 0 };
    expect(checkLeaders(log, new Violations())).toEqual({ ...none, [counted[0]]: 2, [counted[1]]: 2 });
  });

  test.each([
    ["a write of a deposed leader", logOf([leader, taken(1, "a")], [leader, taken(2, "b")], [led, written(1, "a")])],
    ["two holders of one epoch", logOf([leader, taken(1, "a")], [leader, taken(1, "b")])],
    ["an epoch left out", logOf([leader, taken(2, "a")])],
    ["a write without a leader", logOf([led, written(1, "a")])],
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
