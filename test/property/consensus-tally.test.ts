import * as fc from "fast-check";
import { expect, test } from "vitest";
import { choiceKeyOf, UNSURE, type VoteChoice } from "../../src/consensus/core/message.ts";
import { quorumOf, Tally } from "../../src/consensus/core/quorum.ts";
import { choices } from "./consensus-values.ts";

const heard = fc.array(fc.record({ voter: fc.nat(4), choice: choices }), { maxLength: 20 });

test("a tally counts the first choice of each sender, however often and whatever it repeats", () => {
  fc.assert(fc.property(heard, (list) => {
    const tally = new Tally<VoteChoice>();
    const first = new Map<number, string>();
    for (const { voter, choice } of list) {
      const key = choiceKeyOf(choice);
      const before = first.get(voter);
      const expected = before === undefined ? "added" : before === key ? "repeated" : "contradicts";
      expect(tally.add(voter, choice)).toBe(expected);
      if (before === undefined) first.set(voter, key);
    }
    expect(tally.size).toBe(first.size);
    for (let need = 1; need <= 5; need++) {
      const winner = tally.winner(need);
      const firm = [...first.values()].filter((key) => key !== UNSURE);
      const reached = firm.filter((key) => firm.filter((other) => other === key).length >= need);
      if (winner === undefined) expect(reached).toEqual([]);
      else expect(reached).toContain(choiceKeyOf(winner));
    }
    const firm = tally.anyFirm();
    expect(firm === undefined).toBe([...first.values()].every((key) => key === UNSURE));
  }), { numRuns: 500 });
});

test("two quorums share a voter, and one voter less is no quorum", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 99 }), (count) => {
    expect(2 * quorumOf(count)).toBeGreaterThan(count);
    expect(2 * (quorumOf(count) - 1)).toBeLessThanOrEqual(count);
  }));
});
