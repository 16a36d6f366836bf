import { expect, test } from "vitest";
import { walkSlot } from "./slot-walk.ts";

/** All processor, and a machine may be busy with something else. */
const WALK_MS_MAX = 180_000;

test("no reachable state of a slot with three voters breaks a rule (C2, C3, C4, C5)", () => {
  const { states, decisions, violation } = walkSlot();
  expect(violation).toBeUndefined();
  // Both values and "none" are decided somewhere: the walk has seen more than the quiet paths.
  expect([...decisions].sort()).toEqual(["0", "x", "y"]);
  expect(states).toBeGreaterThan(5_000);
}, WALK_MS_MAX);

test.each(["quorum-minus-one", "coin-decides", "acknowledge-early", "tally-by-message"] as const)(
  "the walk finds the planted fault %s",
  (fault) => {
    const { violation } = walkSlot(fault);
    expect(violation).toMatch(/^C[2345]: /);
  },
);
