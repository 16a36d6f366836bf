import { expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { Membership } from "../../../src/consensus/core/membership.ts";
import type { DecidedChange } from "../../../src/consensus/core/membership-change.ts";
import { MembershipChanges } from "../../../src/consensus/membership-changes.ts";
import { uidNamed } from "../../property/consensus-values.ts";

const JOIN: DecidedChange = {
  kind: "add", node: parseNodeId("d"), uid: uidNamed("uid-d"), address: "ws://d",
};

test("what a node asks for is proposed here once the convener has left it for two seconds", () => {
  const { changes, proposed } = watched();
  for (let nowMs = 0; nowMs < 2_000; nowMs += 200) changes.ask(JOIN, false, nowMs);
  expect(proposed()).toBe(0);
  changes.ask(JOIN, false, 2_000);
  expect(proposed()).toBe(1);
});

test("a node that had stopped asking is left to the convener again", () => {
  const { changes, proposed } = watched();
  changes.ask(JOIN, false, 0);
  changes.ask(JOIN, false, 60_000);
  expect(proposed()).toBe(0);
});

function watched(): { readonly changes: MembershipChanges; readonly proposed: () => number } {
  let count = 0;
  const membership = Membership.unformed([], 16);
  const changes = new MembershipChanges(
    () => `uid-a.1.${++count}`,
    () => ({ membership, applied: 0, isAlive: () => true, isCaughtUp: () => true, isSettled: () => true }),
  );
  return { changes, proposed: () => count };
}
