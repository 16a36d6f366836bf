import { expect, test } from "vitest";
import { parseNodeId, parseNodeUid } from "../../../../src/base/ids.ts";
import {
  Leadership, LEADERSHIP_DEFAULTS, type LeaderRows,
} from "../../../../src/cluster/leadership/core/leadership.ts";
import type { NodeLife } from "../../../../src/cluster/core/rows.ts";

function life(name: string, incarnation = 1): NodeLife {
  return { node: parseNodeId(name), uid: parseNodeUid(name.padEnd(16, "x")), incarnation };
}

function open(self: NodeLife, rank: number): Leadership {
  const leadership = new Leadership({ ...LEADERSHIP_DEFAULTS, self });
  leadership.setRank(rank);
  leadership.setReady(true, 0);
  return leadership;
}

function held(holder: NodeLife, epoch: number, revisions: { leader: number; beat: number }): LeaderRows {
  return {
    leader: { epoch, holder },
    leaderModRevision: revisions.leader,
    beatModRevision: revisions.beat,
    beatCount: revisions.beat - revisions.leader,
  };
}

test("the lowest voter takes a leadership that nobody has at once, the next half a second later", () => {
  expect(open(life("n1"), 0).next(0)).toEqual({ kind: "take", epoch: 1, leaderModRevision: 0, beatModRevision: 0 });
  const second = open(life("n2"), 1);
  expect(second.next(499).kind).toBe("wait");
  expect(second.next(500).kind).toBe("take");
});

test("a voter takes over when both rows stood still for 3 s and its rank's share, and raises the epoch", () => {
  const leadership = open(life("n2"), 1);
  leadership.observe(held(life("n1"), 4, { leader: 10, beat: 12 }), 1_000);
  expect(leadership.next(4_499).kind).toBe("wait");
  expect(leadership.next(4_500)).toEqual({ kind: "take", epoch: 5, leaderModRevision: 10, beatModRevision: 12 });
});

test("every beat starts the patience anew", () => {
  const leadership = open(life("n2"), 1);
  leadership.observe(held(life("n1"), 4, { leader: 10, beat: 12 }), 1_000);
  leadership.observe(held(life("n1"), 4, { leader: 10, beat: 15 }), 4_000);
  expect(leadership.next(7_499).kind).toBe("wait");
  expect(leadership.next(7_500).kind).toBe("take");
});

test("a node that is not ready waits, and its patience starts when it is ready", () => {
  const leadership = open(life("n2"), 1);
  leadership.observe(held(life("n1"), 4, { leader: 10, beat: 12 }), 0);
  leadership.setReady(false, 1_000);
  expect(leadership.next(60_000).kind).toBe("wait");
  expect(leadership.current(60_000)).toBeUndefined();
  leadership.setReady(true, 60_000);
  expect(leadership.next(63_499).kind).toBe("wait");
  expect(leadership.next(63_500).kind).toBe("take");
});

test("a restarted holder takes a new epoch at once", () => {
  const leadership = open(life("n3", 2), 2);
  leadership.observe(held(life("n3", 1), 4, { leader: 10, beat: 12 }), 0);
  expect(leadership.isLeader(0)).toBe(false);
  expect(leadership.next(0)).toMatchObject({ kind: "take", epoch: 5 });
});

test("the holder beats once per second and stops acting when its beat is not acknowledged for 2.5 s", () => {
  const self = life("n1");
  const leadership = open(self, 0);
  leadership.acknowledge(held(self, 1, { leader: 7, beat: 7 }), 0, 5);
  expect(leadership.isLeader(5)).toBe(true);
  expect(leadership.leaderModRevision).toBe(7);
  expect(leadership.next(999).kind).toBe("wait");
  expect(leadership.next(1_000)).toEqual({ kind: "beat", epoch: 1, count: 1, leaderModRevision: 7 });
  expect(leadership.isLeader(2_499)).toBe(true);
  expect(leadership.isLeader(2_500)).toBe(false);
  leadership.acknowledge(held(self, 1, { leader: 7, beat: 9 }), 2_600, 2_700);
  expect(leadership.isLeader(2_700)).toBe(true);
});

test("a deposed holder leads no more", () => {
  const self = life("n1");
  const leadership = open(self, 0);
  leadership.acknowledge(held(self, 1, { leader: 7, beat: 7 }), 0, 5);
  leadership.observe(held(life("n2"), 2, { leader: 9, beat: 9 }), 10);
  expect(leadership.isLeader(10)).toBe(false);
  expect(leadership.next(10).kind).toBe("wait");
  expect(leadership.current(10)?.epoch).toBe(2);
});

test("a view behind the own writes changes nothing", () => {
  const self = life("n1");
  const leadership = open(self, 0);
  leadership.acknowledge(held(self, 3, { leader: 7, beat: 7 }), 0, 5);
  leadership.observe(held(life("n2"), 2, { leader: 5, beat: 6 }), 10);
  expect(leadership.isLeader(10)).toBe(true);
});

test("a leader that gave no sign of life for 3 s is named no more", () => {
  const leadership = open(life("n2"), 1);
  leadership.observe(held(life("n1"), 4, { leader: 10, beat: 12 }), 1_000);
  expect(leadership.current(3_999)?.holder.node).toBe("n1");
  expect(leadership.current(4_000)).toBeUndefined();
});

test("a falling epoch, or a second holder of one epoch, stops the node (C12)", () => {
  const second = open(life("n3"), 2);
  second.observe(held(life("n1"), 4, { leader: 10, beat: 12 }), 0);
  expect(() => second.observe(held(life("n2"), 4, { leader: 13, beat: 13 }), 1)).toThrow("C12");
  expect(() => second.observe(held(life("n1"), 3, { leader: 14, beat: 14 }), 2)).toThrow("C12");
});

test("a leadership that nobody can read any more is nobody's, and is taken with an epoch above all others", () => {
  const self = life("n1");
  const unreadable: LeaderRows = { leader: undefined, leaderModRevision: 20, beatModRevision: 12, beatCount: 2 };
  const [holder, witness, newcomer] = [open(self, 0), open(life("n2"), 1), open(life("n3"), 2)];
  holder.acknowledge(held(self, 4, { leader: 10, beat: 12 }), 0, 5);
  witness.observe(held(self, 4, { leader: 10, beat: 12 }), 5);
  for (const leadership of [holder, witness, newcomer]) leadership.observe(unreadable, 1_000);
  expect([holder.isLeader(1_000), witness.current(1_000)]).toEqual([false, undefined]);
  const take = { kind: "take", epoch: 21, leaderModRevision: 20, beatModRevision: 12 };
  expect(holder.next(1_000)).toEqual(take);
  expect(newcomer.next(2_000)).toEqual(take);
  expect(() => witness.observe(held(self, 3, { leader: 21, beat: 21 }), 1_100)).toThrow("C12");
  witness.observe(held(life("n3"), 21, { leader: 22, beat: 22 }), 1_200);
  expect(witness.current(1_200)?.holder.node).toBe("n3");
});

test("a node that is no voter takes nothing, and one that was a voter stops beating", () => {
  const leadership = open(life("n1"), 0);
  const rows = held(life("n1"), 1, { leader: 10, beat: 10 });
  leadership.acknowledge(rows, 0, 0);
  expect(leadership.next(2_000).kind).toBe("beat");
  leadership.setRank(undefined);
  expect(leadership.next(2_000).kind).toBe("wait");
  expect(leadership.next(60_000).kind).toBe("wait");
});
