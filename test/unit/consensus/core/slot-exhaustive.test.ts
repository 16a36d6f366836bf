import { expect, test } from "vitest";
import { walkSlot } from "./slot-walk.ts";

test("no reachable state of a slot with three voters breaks a rule (C2, C3, C4, C5)", () => {
  const t=performance.now();
  const { states, decisions, violation } = walkSlot();
  console.log(states, performance.now()-t);
  expect(violation).toBeUndefined();
  // Both values and "none" are decided somewhere: the walk has seen more than the quiet paths.
  expect([...decisions].sort()).toEqual(["0", "x", "y"]);
  expect(states).toBeGreaterThan(5_000);
});

test.each(["quorum-minus-one", "coin-decides", "acknowledge-early", "tally-by-message"] as const)(
  "the walk finds the planted fault %s",
  (fault) => {
    const t=performance.now();
    const { violation, states } = walkSlot(fault);
    console.log(fault, violation, states, performance.now()-t);
    expect(violation).toMatch(/^C[2345]: /);
  },
);
