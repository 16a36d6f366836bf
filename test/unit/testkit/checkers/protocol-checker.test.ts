import { describe, expect, test } from "vitest";
import { parseNodeId, parseNodeUid } from "../../../../src/base/ids.ts";
import {
  batchKeyOf,
  NOOP,
  NULL_OUTCOME,
  UNSURE,
  valueOf,
  type Ballot,
  type BatchId,
  type Outcome,
  type VoteChoice,
} from "../../../../src/consensus/core/message.ts";
import { ProtocolChecker } from "../../../sim/checkers/protocol-checker.ts";
import { Violations } from "../../../sim/checkers/violations.ts";

const [A, B, C] = [parseNodeId("a"), parseNodeId("b"), parseNodeId("c")];
const NODES = [A, B, C];
const X: BatchId = { origin: parseNodeUid("aaaaaaaaaaaaaaaa"), incarnation: 1, sequence: 1 };
const Y: BatchId = { ...X, sequence: 2 };
const VX = valueOf([X]);
const VY = valueOf([Y]);
type Node = (typeof NODES)[number];

/** Plays a few steps of a three node cluster and tells what the checker says. */
class Play {
  readonly violations = new Violations();
  readonly checker = new ProtocolChecker({ voters: NODES, windowSlots: 4 }, this.violations);

  constructor() {
    for (const node of NODES) this.checker.booted(node, 1);
  }

  propose(node: Node, value = VX, slot = 0): this {
    this.checker.sent(node, A, { kind: "proposal", slot, value });
    return this;
  }

  write(node: Node, ballot: Ballot, batches: readonly BatchId[] = []): this {
    this.checker.durable(node, [ballot], batches.map(batchKeyOf));
    return this;
  }

  send(node: Node, ballot: Ballot): this {
    this.checker.sent(node, A, { kind: "ballot", ballot, writeNumber: 1 });
    return this;
  }

  /** Votes for X in phase 0, with its batch on disk. */
  voteX(node: Node, slot = 0): this {
    return this.write(node, vote(0, VX, slot), [X]).send(node, vote(0, VX, slot));
  }

  decide(node: Node, outcome: Outcome = VX, slot = 0): this {
    this.checker.decided(node, slot, outcome, 0);
    return this;
  }

  apply(node: Node, slot = 0, ran: readonly BatchId[] = [X], stateHash = 7, outcome: Outcome = VX): this {
    this.checker.applied(node, slot, outcome, ran, stateHash);
    return this;
  }

  acknowledge(node: Node, slot = 0, batch = X): this {
    this.checker.acknowledged(node, slot, batch);
    return this;
  }

  get verdict(): string | undefined {
    return this.violations.first?.check;
  }
}

function vote(phase: number, choice: VoteChoice, slot = 0): Ballot {
  return { kind: "vote", slot, phase, choice };
}
function state(phase: number, choice: Outcome, slot = 0): Ballot {
  return { kind: "state", slot, phase, choice };
}
/** A slot decided for X the usual way. */
function usual(): Play {
  return new Play().propose(A).propose(B).voteX(A).voteX(B).decide(A).acknowledge(A).apply(A);
}

test("the usual way of a slot is accepted, and so are repeats of messages", () => {
  const play = usual().propose(A).voteX(A).voteX(C).decide(B).decide(C).apply(B).apply(C);
  play.checker.checkEnd(() => 1);
  expect(play.violations.first).toBeUndefined();
});

test("a slot that goes to a later phase is accepted", () => {
  const play = new Play().propose(A).propose(B).voteX(A);
  for (const node of [B, C]) play.write(node, vote(0, UNSURE)).send(node, vote(0, UNSURE));
  for (const node of NODES) play.write(node, state(1, VX), [X]).send(node, state(1, VX));
  for (const node of NODES) play.write(node, vote(1, VX)).send(node, vote(1, VX));
  for (const node of NODES) play.checker.decided(node, 0, VX, 1);
  expect(play.violations.first).toBeUndefined();
  expect(play.checker.stats.laterPhaseSlots).toBe(1);
});

describe("C1 is found broken when a node", () => {
  test("proposes two values in one slot", () => {
    expect(new Play().propose(A).propose(A, VY).verdict).toBe("C1");
  });
  test("proposes the same value again after a restart", () => {
    const play = new Play().propose(A);
    play.checker.booted(A, 2);
    expect(play.propose(A).verdict).toBe("C1");
    expect(play.checker.stats.inDoubtSlots).toBe(1);
  });
  test("votes twice in one phase", () => {
    const play = new Play().propose(A).propose(B).voteX(A);
    expect(play.write(A, vote(0, UNSURE)).verdict).toBe("C1");
  });
  test("sends a vote that is not on its disk", () => {
    expect(new Play().send(A, vote(0, UNSURE)).verdict).toBe("C1");
  });
});

test("C2 is found broken when two votes of one phase name different values", () => {
  const play = new Play().propose(A).propose(B).propose(C).voteX(A);
  expect(play.write(B, vote(0, VY), [Y]).verdict).toBe("C2");
});

describe("C3 is found broken when a node votes for", () => {
  test("a value that no quorum proposed", () => {
    expect(new Play().propose(A).voteX(A).verdict).toBe("C3");
  });
  test("a value that no quorum stated", () => {
    expect(new Play().write(A, state(1, VX)).write(A, vote(1, VX)).verdict).toBe("C3");
  });
});

describe("C4 is found broken when a state differs from what a quorum voted in an earlier phase", () => {
  test("and comes after it", () => {
    const play = new Play().propose(A).propose(B).voteX(A).voteX(B);
    expect(play.write(C, state(1, NULL_OUTCOME)).verdict).toBe("C4");
  });
  test("and came before it", () => {
    const play = new Play().propose(A).propose(B).voteX(A).write(C, state(1, NULL_OUTCOME));
    expect(play.voteX(B).verdict).toBe("C4");
  });
});

describe("C5 is found broken when a node", () => {
  test("decides differently", () => {
    expect(usual().decide(B, NULL_OUTCOME).verdict).toBe("C5");
  });
  test("decides what no quorum has on disk", () => {
    expect(new Play().propose(A).propose(B).voteX(A).decide(A).verdict).toBe("C5");
  });
  test("tells a slot wrongly", () => {
    const play = usual();
    play.checker.sent(A, B, { kind: "decision", slot: 0, outcome: NOOP });
    expect(play.verdict).toBe("C5");
  });
});

test("C6 is found broken when a decided batch is on too few disks", () => {
  const play = new Play().propose(A).propose(B);
  for (const node of [A, B]) play.write(node, vote(0, VX)).send(node, vote(0, VX));
  expect(play.decide(A).verdict).toBe("C6");
});

describe("C7 is found broken when a node", () => {
  test("leaves out a slot", () => {
    expect(usual().apply(B, 1).verdict).toBe("C7");
  });
  test("applies a slot twice in one life", () => {
    expect(usual().apply(A).verdict).toBe("C7");
  });
  test("has another state hash at the same slot", () => {
    expect(usual().apply(B, 0, [X], 8).verdict).toBe("C7");
  });
  test("ran other batches in the same slot", () => {
    expect(usual().apply(B, 0, []).verdict).toBe("C7");
  });
  test("ends at another slot than the others", () => {
    const play = usual();
    play.checker.checkEnd((node) => (node === A ? 1 : 0));
    expect(play.verdict).toBe("C7");
  });
});

test("C7 allows a restarted node to apply again from its checkpoint", () => {
  const play = usual();
  play.checker.booted(A, 2);
  expect(play.apply(A).verdict).toBeUndefined();
});

test("C8 is found broken when a batch runs in two slots", () => {
  const play = usual().propose(A, VX, 1).propose(B, VX, 1).voteX(A, 1).voteX(B, 1).decide(A, VX, 1);
  expect(play.apply(A, 1).verdict).toBe("C8");
});

describe("once a later incarnation of an origin has run, a batch of an earlier one", () => {
  const later: BatchId = { ...X, incarnation: 2, sequence: 1 };
  const laterRan = (): Play => {
    const value = valueOf([later]);
    const play = new Play().propose(A, value).propose(B, value);
    for (const node of [A, B]) play.write(node, vote(0, value), [later]).send(node, vote(0, value));
    return play.decide(A, value).apply(A, 0, [later], 7, value);
  };
  const decideX = (): Play => {
    const play = laterRan().propose(A, VX, 1).propose(B, VX, 1);
    for (const node of [A, B]) play.write(node, vote(0, VX, 1)).send(node, vote(0, VX, 1));
    return play.decide(A, VX, 1);
  };
  test("need not be on a quorum of disks to be decided (C6)", () => {
    expect(decideX().apply(A, 1, []).verdict).toBeUndefined();
  });
  test("must not run (C8)", () => {
    expect(decideX().apply(A, 1, [X]).verdict).toBe("C8");
  });
});

describe("C9 is found broken when a command is acknowledged", () => {
  test("before a quorum holds the decision", () => {
    expect(new Play().propose(A).propose(B).voteX(A).acknowledge(A).verdict).toBe("C9");
  });
  test("and does not run", () => {
    const play = new Play().propose(A).propose(B).voteX(A).voteX(B).decide(A);
    expect(play.acknowledge(A).apply(A, 0, []).verdict).toBe("C9");
  });
  test("and is not in the log at the end", () => {
    const play = usual();
    play.checker.checkEnd(() => 0);
    expect(play.verdict).toBe("C9");
  });
});

test("C10 is found broken when a node votes beyond its window", () => {
  expect(new Play().write(A, vote(0, UNSURE, 4)).verdict).toBe("C10");
});
