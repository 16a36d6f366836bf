import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseNodeId, type NodeUid } from "../../src/base/ids.ts";
import { VoterList } from "../../src/consensus/core/membership.ts";
import { ReadRounds } from "../../src/consensus/core/read-rounds.ts";

const answers = fc.array(
  fc.record({ voter: fc.integer({ min: 1, max: 4 }), age: fc.constantFrom(0, 0, 0, 1, 2), voted: fc.nat(50) }),
  { maxLength: 20 },
);

test("a round ends with the answers of a quorum of different voters and their maximum, whatever else arrives", () => {
  fc.assert(fc.property(fc.nat(50), answers, fc.constantFrom(1, 2, 3), (ownVoted, list, quorum) => {
    const rounds = new ReadRounds(1_000);
    const lists = [listOf(2 * quorum - 1)];
    rounds.begin(uidOf(0), 0, lists);
    rounds.begin(uidOf(0), 0, lists);
    const nonce = rounds.begin(uidOf(0), ownVoted, lists)?.nonce ?? rounds.openNonce;
    const answered = new Map([[0, ownVoted]]);
    if (quorum === 1) expect(rounds.openNonce).toBeUndefined();
    for (const { voter, age, voted } of list) {
      const isOpen = [...answered.keys()].filter((at) => at < 2 * quorum - 1).length < quorum;
      const done = rounds.answer(uidOf(voter), { nonce: (nonce ?? 0) - age, voted }, lists);
      if (!isOpen || age > 0) {
        expect(done).toBeUndefined();
        continue;
      }
      answered.set(voter, Math.max(voted, answered.get(voter) ?? 0));
      const voters = [...answered.keys()].filter((at) => at < 2 * quorum - 1);
      if (voters.length < quorum) expect(done).toBeUndefined();
      else expect(done).toEqual({ nonce, target: Math.max(...answered.values()) });
    }
  }), { numRuns: 500 });
});

test("no nonce is used twice", () => {
  const rounds = new ReadRounds(7);
  const nonces = Array.from({ length: 100 }, () => {
    rounds.begin(uidOf(0), 0, [listOf(3)]);
    return rounds.openNonce;
  });
  expect(new Set(nonces).size).toBe(100);
});

test("while two lists rule, a round needs a quorum of each", () => {
  const rounds = new ReadRounds(0);
  const lists = [listOf(3), listOf(5)];
  const nonce = rounds.begin(uidOf(0), 1, lists)?.nonce ?? rounds.openNonce ?? 0;
  expect(rounds.answer(uidOf(1), { nonce, voted: 2 }, lists)).toBeUndefined();
  expect(rounds.answer(uidOf(4), { nonce, voted: 9 }, lists)).toEqual({ nonce, target: 9 });
});

function uidOf(voter: number): NodeUid {
  return `u${voter}` as NodeUid;
}

function listOf(voters: number): VoterList {
  const list = Array.from({ length: voters }, (_, at) => ({ node: parseNodeId(`n${at}`), uid: uidOf(at) }));
  return new VoterList(list, 0);
}
