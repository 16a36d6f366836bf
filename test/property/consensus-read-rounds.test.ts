import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ReadRounds } from "../../src/consensus/core/read-rounds.ts";

const answers = fc.array(
  fc.record({ voter: fc.integer({ min: 1, max: 4 }), age: fc.constantFrom(0, 0, 0, 1, 2), voted: fc.nat(50) }),
  { maxLength: 20 },
);

test("a round ends with the answers of a quorum of different voters and their maximum, whatever else arrives", () => {
  fc.assert(fc.property(fc.nat(50), answers, fc.constantFrom(1, 2, 3), (ownVoted, list, quorum) => {
    const rounds = new ReadRounds(quorum, 1_000);
    rounds.begin(0, 0);
    rounds.begin(0, 0);
    const nonce = rounds.begin(0, ownVoted)?.nonce ?? rounds.openNonce;
    const answered = new Map([[0, ownVoted]]);
    if (quorum === 1) expect(rounds.openNonce).toBeUndefined();
    for (const { voter, age, voted } of list) {
      const isOpen = answered.size < quorum;
      const done = rounds.answer(voter, (nonce ?? 0) - age, voted);
      if (!isOpen || age > 0) {
        expect(done).toBeUndefined();
        continue;
      }
      answered.set(voter, Math.max(voted, answered.get(voter) ?? 0));
      if (answered.size < quorum) expect(done).toBeUndefined();
      else expect(done).toEqual({ nonce, target: Math.max(...answered.values()) });
    }
  }), { numRuns: 500 });
});

test("no nonce is used twice", () => {
  const rounds = new ReadRounds(2, 7);
  const nonces = Array.from({ length: 100 }, () => {
    rounds.begin(0, 0);
    return rounds.openNonce;
  });
  expect(new Set(nonces).size).toBe(100);
});
