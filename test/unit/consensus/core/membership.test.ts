import { expect, test } from "vitest";
import { type NodeId, type NodeUid, parseNodeId } from "../../../../src/base/ids.ts";
import {
  type DecidedChange,
  encodeChange,
  parseChange,
} from "../../../../src/consensus/core/membership-change.ts";
import { Membership } from "../../../../src/consensus/core/membership.ts";
import { uidNamed } from "../../../property/consensus-values.ts";

const WINDOW = 8;

function nodeOf(at: number): { readonly node: NodeId; readonly uid: NodeUid } {
  return { node: parseNodeId(`n${at}`), uid: uidNamed(`u${at}`) };
}

function clusterOf(count: number): Membership {
  const first = Array.from({ length: count }, (_, at) => nodeOf(at + 1));
  const membership = Membership.unformed(first.map(({ node }) => node), WINDOW);
  membership.form(first.map((voter) => ({ ...voter, share: "", address: `ws://${voter.node}` })));
  return membership;
}

function voters(membership: Membership, slot: number): readonly string[] {
  return membership.rulingAt(slot).nodes;
}

test("a list decided in slot s rules from s + W on; until then no other change of the voters is taken (C10)", () => {
  const membership = clusterOf(4);
  const removal = { kind: "remove", ...nodeOf(4), basis: 0 } as const;
  expect(membership.apply(removal, 10)).toEqual({ kind: "done", rulesFrom: 10 + WINDOW });
  expect(voters(membership, 9 + WINDOW)).toEqual(["n1", "n2", "n3", "n4"]);
  expect(voters(membership, 10 + WINDOW)).toEqual(["n1", "n2", "n3"]);
  const other = { kind: "remove", ...nodeOf(3), basis: undefined } as const;
  expect(membership.apply(other, 9 + WINDOW)).toMatchObject({ kind: "refused", code: "E_CONFLICT" });
  expect(membership.apply(other, 10 + WINDOW)).toMatchObject({ kind: "done" });
});

test("a change that was judged by another list is refused, however late it is decided", () => {
  const membership = clusterOf(5);
  expect(membership.apply({ kind: "remove", ...nodeOf(5), basis: 0 }, 10)).toMatchObject({ kind: "done" });
  // Asked for at the same time at another node, decided after the first one rules.
  expect(membership.apply({ kind: "remove", ...nodeOf(4), basis: 0 }, 100)).toMatchObject({ code: "E_CONFLICT" });
  const { fromSlot: basis } = membership.rulingAt(100);
  expect(membership.apply({ kind: "remove", ...nodeOf(4), basis }, 101)).toMatchObject({ kind: "done" });
});

test.each([
  [3, 1],
  [4, 1],
  [5, 2],
  [7, 3],
])("of %i voters %i can be declared lost, and no more: the others could decide nothing", (count, most) => {
  const membership = clusterOf(count);
  for (let at = 1; at <= count; at++) {
    const verdict = membership.apply({ kind: "lost", ...nodeOf(at) }, at);
    expect(verdict).toMatchObject(at <= most ? { kind: "done" } : { kind: "refused", code: "E_CONFLICT" });
  }
});

test("while a list is pending, a voter is declared lost only if both lists can do without it", () => {
  const membership = clusterOf(3);
  expect(membership.apply({ kind: "remove", ...nodeOf(3), basis: 0 }, 10)).toMatchObject({ kind: "done" });
  expect(membership.apply({ kind: "lost", ...nodeOf(2) }, 11)).toMatchObject({ kind: "refused", code: "E_CONFLICT" });
});

test("a list that rules no slot any more has no say in who may be declared lost", () => {
  const membership = clusterOf(3);
  const fresh = { node: parseNodeId("n4"), uid: uidNamed("u4") };
  expect(membership.apply({ kind: "add", ...fresh, address: "ws://n4" }, 1)).toMatchObject({ kind: "done" });
  expect(membership.apply({ kind: "remove", ...nodeOf(3), basis: 0 }, 10)).toMatchObject({ kind: "done" });
  const { fromSlot: basis } = membership.rulingAt(10 + WINDOW);
  const promoted = membership.apply({ kind: "promote", ...fresh, basis }, 10 + WINDOW);
  expect(promoted).toEqual({ kind: "done", rulesFrom: 10 + 2 * WINDOW });
  // While the two voters still rule, both are needed.
  expect(membership.apply({ kind: "lost", ...nodeOf(1) }, 9 + 2 * WINDOW)).toMatchObject({ kind: "refused" });
  expect(membership.apply({ kind: "lost", ...nodeOf(1) }, 10 + 2 * WINDOW)).toMatchObject({ kind: "done" });
});

test("the successor of a lost voter takes its place, and the lost one never comes back", () => {
  const membership = clusterOf(3);
  const successor = { node: parseNodeId("n2"), uid: uidNamed("u9") };
  const add: DecidedChange = { kind: "add", ...successor, address: "ws://n2" };
  expect(membership.apply(add, 1)).toMatchObject({ kind: "refused", code: "E_CONFLICT" });
  expect(membership.apply({ kind: "lost", ...nodeOf(2) }, 2)).toMatchObject({ kind: "done" });
  expect(membership.apply(add, 3)).toMatchObject({ kind: "done" });
  expect(membership.apply({ kind: "promote", ...successor, basis: 0 }, 4)).toMatchObject({ kind: "done" });
  expect(membership.rulingAt(4 + WINDOW).voters.map(({ uid }) => uid)).toEqual(["u1", "u9", "u3"].map(uidNamed));
  expect(membership.isRemoved(nodeOf(2).uid)).toBe(true);
  const back: DecidedChange = { kind: "add", ...nodeOf(2), address: "ws://n2" };
  expect(membership.apply(back, 50)).toMatchObject({ kind: "refused", code: "E_CONFLICT" });
});

test.each<DecidedChange>([
  { kind: "add", ...nodeOf(1), address: "ws://n1" },
  { kind: "promote", ...nodeOf(1), basis: 17 },
  { kind: "remove", ...nodeOf(1), basis: undefined },
  { kind: "lost", ...nodeOf(1) },
  { kind: "raise-version", version: 2 },
])("$kind is read as it was written", (change) => {
  expect(parseChange(encodeChange(change))).toEqual(change);
});
