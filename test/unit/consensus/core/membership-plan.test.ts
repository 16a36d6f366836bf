import { expect, test } from "vitest";
import { type NodeId, parseNodeId } from "../../../../src/base/ids.ts";
import { type ClusterSight, planChange } from "../../../../src/consensus/core/membership-plan.ts";
import type { DecidedChange } from "../../../../src/consensus/core/membership-change.ts";
import { Membership } from "../../../../src/consensus/core/membership.ts";
import { uidNamed } from "../../../property/consensus-values.ts";

const WINDOW = 8;
const [N1, N2, N3] = ["n1", "n2", "n3"].map(parseNodeId) as [NodeId, NodeId, NodeId];
const OLD = uidNamed("old-n2");
const NEW = uidNamed("new-n2");

/** Three voters, of which n2 has the directory OLD. */
function cluster(): Membership {
  const membership = Membership.unformed([N1, N2, N3], WINDOW);
  membership.form([[N1, uidNamed("u1")], [N2, OLD], [N3, uidNamed("u3")]].map(([node, uid]) => {
    return { node: node as NodeId, uid: uid as typeof OLD, share: "", address: `ws://${node}` };
  }));
  return membership;
}

function decide(membership: Membership, slot: number, ...changes: readonly DecidedChange[]): void {
  for (const change of changes) expect(membership.apply(change, slot)).toMatchObject({ kind: "done" });
}

/** As a node sees it that misses n2. */
function sight(membership: Membership, applied: number): ClusterSight {
  return {
    membership,
    applied,
    isAlive: ({ node }) => node !== N2,
    isCaughtUp: () => true,
    isSettled: () => true,
  };
}

test("of a voter to replace it has to be said which directory is lost, and it is proposed for that one alone", () => {
  const seen = sight(cluster(), 20);
  expect(planChange({ kind: "replace", node: N2 }, seen)).toMatchObject({
    kind: "refused", code: "E_INVALID", reason: expect.stringContaining("knows it with old-n2"),
  });
  expect(planChange({ kind: "replace", node: N2, uid: NEW }, seen)).toMatchObject({
    kind: "refused", code: "E_CONFLICT", reason: expect.stringContaining("old-n2, not new-n2"),
  });
  expect(planChange({ kind: "replace", node: N2, uid: OLD }, seen)).toEqual({
    kind: "propose", change: { kind: "lost", node: N2, uid: OLD },
  });
});

test("a replacement that is asked for again never means the node that has taken the place", () => {
  const membership = cluster();
  decide(membership, 10, { kind: "lost", node: N2, uid: OLD });
  const again = { kind: "replace", node: N2, uid: OLD } as const;
  expect(planChange(again, sight(membership, 11))).toMatchObject({ kind: "done" });
  decide(membership, 12, { kind: "add", node: N2, uid: NEW, address: "ws://n2" });
  expect(planChange(again, sight(membership, 13))).toMatchObject({ kind: "done" });
  decide(membership, 14, { kind: "promote", node: N2, uid: NEW, basis: undefined });
  // The new one is away just now.
  expect(planChange(again, sight(membership, 40))).toMatchObject({ kind: "done" });
  expect(planChange({ kind: "promote", node: N2, uid: OLD }, sight(membership, 40))).toMatchObject({
    kind: "refused", code: "E_CONFLICT",
  });
});

test("a removal that is asked for again is done, whoever has the name by then, once its list rules", () => {
  const membership = cluster();
  decide(membership, 10, { kind: "remove", node: N2, uid: OLD, basis: undefined });
  const again = { kind: "remove", node: N2, uid: OLD } as const;
  expect(planChange(again, sight(membership, 11))).toEqual({ kind: "done", rulesFrom: 10 + WINDOW });
  expect(planChange({ kind: "remove", node: N2 }, sight(membership, 11))).toMatchObject({ code: "E_NOT_FOUND" });
  decide(membership, 40, { kind: "add", node: N2, uid: NEW, address: "ws://n2" });
  expect(planChange(again, sight(membership, 41))).toMatchObject({ kind: "done" });
  expect(planChange({ kind: "remove", node: N2, uid: NEW }, sight(membership, 41))).toMatchObject({ kind: "propose" });
});

test("a promotion that is asked for again is done once its list rules", () => {
  const membership = cluster();
  const n4 = { node: parseNodeId("n4"), uid: uidNamed("u4") };
  decide(membership, 10, { kind: "add", ...n4, address: "ws://n4" }, { kind: "promote", ...n4, basis: undefined });
  expect(planChange({ kind: "promote", ...n4 }, sight(membership, 11))).toEqual({
    kind: "done", rulesFrom: 10 + WINDOW,
  });
  expect(planChange({ kind: "promote", node: n4.node, uid: NEW }, sight(membership, 11))).toMatchObject({
    kind: "refused", code: "E_CONFLICT",
  });
});
