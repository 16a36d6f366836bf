import { beforeEach, expect, test } from "vitest";
import { type Ballot, NULL_OUTCOME, UNSURE, type VoteChoice, valueOf } from "../../../../src/consensus/core/message.ts";
import { Slot } from "../../../../src/consensus/core/slot.ts";
import { uidNamed } from "../../../property/consensus-values.ts";

const X = valueOf([{ origin: uidNamed("u1"), incarnation: 1, sequence: 1 }]);
const Y = valueOf([{ origin: uidNamed("u2"), incarnation: 1, sequence: 1 }]);

let coin: 0 | 1;
let slot: Slot;

beforeEach(() => {
  coin = 1;
  const rules = { voterCount: 3, self: 0, quorum: 2, coin: () => coin, planted: undefined };
  slot = new Slot(7, rules, false, { firstSeenMs: 0, patienceAtMs: 0, resendAtMs: 0, resendDelayMs: 0 });
});

function vote(phase: number, choice: VoteChoice): Ballot {
  return { kind: "vote", slot: 7, phase, choice };
}

function state(phase: number, choice: Exclude<VoteChoice, typeof UNSURE>): Ballot {
  return { kind: "state", slot: 7, phase, choice };
}

/** Casts what the slot demands, writes it, and gives what it was. */
function castNext(): Ballot | undefined {
  const move = slot.nextMove();
  if (move.kind !== "cast") return undefined;
  slot.cast(move.ballot);
  slot.ballotDurable(move.ballot);
  return move.ballot;
}

test("a ballot that is being written counts nowhere, is not sent again and holds back the next one (C1)", () => {
  for (const voter of [0, 1]) slot.countProposal(voter, X);
  const move = slot.nextMove();
  expect(move).toEqual({ kind: "cast", ballot: vote(0, X) });
  slot.cast(vote(0, X));
  slot.countBallot(1, vote(0, X));
  expect(slot.nextMove()).toEqual({ kind: "wait" });
  expect(slot.ownBallots()).toEqual([]);
  expect(() => slot.cast(state(1, X))).toThrow("C1");
  slot.ballotDurable(vote(0, X));
  expect(slot.nextMove()).toEqual({ kind: "decide", outcome: X, phase: 0 });
  expect(slot.ownBallots()).toEqual([vote(0, X)]);
});

test("the last ballot of a later phase is not sent again either while it is being written (C1)", () => {
  slot.restore(vote(0, UNSURE));
  slot.countBallot(1, vote(0, UNSURE));
  slot.cast(state(1, NULL_OUTCOME));
  expect(slot.ownBallots()).toEqual([vote(0, UNSURE)]);
});

test("a second, different ballot of one kind and phase is a bug that stops the node (C1)", () => {
  slot.restore(vote(0, X));
  expect(() => slot.cast(vote(0, UNSURE))).toThrow("C1");
  slot.restore(state(1, X));
  expect(() => slot.restore(state(1, NULL_OUTCOME))).toThrow("C1");
});

test("a sender that contradicts itself counts with what it said first", () => {
  expect(slot.countBallot(1, vote(0, X))).toBe("added");
  expect(slot.countBallot(1, vote(0, X))).toBe("repeated");
  expect(slot.countBallot(1, vote(0, UNSURE))).toBe("contradicts");
  expect(slot.countBallot(2, vote(0, X))).toBe("added");
  expect(slot.nextMove()).toEqual({ kind: "decide", outcome: X, phase: 0 });
});

test("without a quorum for one value the vote waits for all proposals, then it is ? (C3)", () => {
  slot.countProposal(0, X);
  slot.countProposal(1, Y);
  expect(slot.nextMove()).toEqual({ kind: "wait" });
  slot.countProposal(2, X);
  expect(slot.nextMove()).toEqual({ kind: "cast", ballot: vote(0, X) });
});

test("patience gives a ? in phase 0 only, before any vote: a hurried one later would break the lock (C4)", () => {
  expect(slot.unsureVote()).toEqual(vote(0, UNSURE));
  slot.restore(vote(0, UNSURE));
  expect(slot.unsureVote()).toBeUndefined();
  slot.countBallot(1, vote(0, UNSURE));
  expect(castNext()).toEqual(state(1, NULL_OUTCOME));
  expect(slot.unsureVote()).toBeUndefined();
});

test("one vote that is not ? decides what the state says (C4)", () => {
  slot.restore(vote(0, UNSURE));
  slot.countBallot(2, vote(0, X));
  expect(castNext()).toEqual(state(1, X));
});

test("in phase 0 the lack of any value means null; later the coin keeps a value that was seen, or gives it up", () => {
  slot.restore(vote(0, UNSURE));
  slot.countBallot(1, vote(0, UNSURE));
  expect(castNext()).toEqual(state(1, NULL_OUTCOME));
  slot.countBallot(2, state(1, X));
  expect(castNext()).toEqual(vote(1, UNSURE));
  slot.countBallot(2, vote(1, UNSURE));
  expect(slot.nextMove()).toEqual({ kind: "cast", ballot: state(2, X) });
  coin = 0;
  expect(slot.nextMove()).toEqual({ kind: "cast", ballot: state(2, NULL_OUTCOME) });
});

test("the coin gives null where no value was ever seen, whatever it shows", () => {
  for (const ballot of [vote(0, UNSURE), state(1, NULL_OUTCOME), vote(1, UNSURE)]) slot.restore(ballot);
  slot.countBallot(1, vote(1, UNSURE));
  expect(slot.nextMove()).toEqual({ kind: "cast", ballot: state(2, NULL_OUTCOME) });
});

test("votes of a quorum decide in whatever phase they are, also without the own vote (C5)", () => {
  for (const voter of [1, 2]) slot.countBallot(voter, vote(5, X));
  expect(slot.nextMove()).toEqual({ kind: "decide", outcome: X, phase: 5 });
});

test("a state needs the own vote among the quorum, and a later vote the own state", () => {
  for (const voter of [1, 2]) slot.countBallot(voter, vote(0, UNSURE));
  expect(slot.nextMove()).toEqual({ kind: "wait" });
  slot.restore(vote(0, UNSURE));
  for (const voter of [1, 2]) slot.countBallot(voter, state(1, NULL_OUTCOME));
  expect(castNext()).toEqual(state(1, NULL_OUTCOME));
  expect(castNext()).toEqual(vote(1, NULL_OUTCOME));
});

test("after a restart the slot goes on exactly where its ballots on disk end", () => {
  for (const ballot of [vote(0, UNSURE), state(1, X)]) slot.restore(ballot);
  expect(slot.nextMove()).toEqual({ kind: "wait" });
  slot.countBallot(1, state(1, X));
  expect(castNext()).toEqual(vote(1, X));
  expect(slot.ownBallots()).toEqual([vote(0, UNSURE), state(1, X), vote(1, X)]);
});

test("a decided slot demands nothing more", () => {
  slot.decision = NULL_OUTCOME;
  for (const voter of [0, 1, 2]) slot.countProposal(voter, X);
  expect(slot.nextMove()).toEqual({ kind: "wait" });
  expect(slot.unsureVote()).toBeUndefined();
});
