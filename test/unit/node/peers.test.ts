import { expect, test } from "vitest";
import { parseNodeId, parseNodeUid } from "../../../src/base/ids.ts";
import type { Member, MembershipView } from "../../../src/consensus/group.ts";
import { parseNodeConfig } from "../../../src/node/config.ts";
import { checkHasCluster, peersOf } from "../../../src/node/peers.ts";

const uidOf = (name: string) => parseNodeUid(name.padEnd(16, "0"));
const n1 = parseNodeId("n1");
const self = { uid: uidOf("n1"), config: { node: n1, voters: { n1: "ws://n1:1", n2: "ws://n2:1" } } };

const elsewhere = { ...self, config: { node: n1, voters: {} } };

function member(name: string, changes: Partial<Member> = {}): Member {
  const node = parseNodeId(name);
  return { node, uid: uidOf(name), address: `ws://${name}:9`, isVoter: true, isLost: false, ...changes };
}

function viewOf(...members: readonly Member[]): MembershipView {
  const voters = members.map(({ node }) => node);
  return { members, voters, pending: undefined, version: 1, supported: new Map(), isSelfRemoved: false };
}

test("before the cluster has formed the peers are the first voters of the configuration", () => {
  expect(Object.fromEntries(peersOf(viewOf(), self))).toEqual({ n1: ["ws://n1:1"], n2: ["ws://n2:1"] });
});

test("members are reached where they say, or where the configuration says when all have moved", () => {
  const view = viewOf(member("n1"), member("n3", { isVoter: false }), member("n2", { address: "ws://n2:1" }));
  expect(Object.fromEntries(peersOf(view, self))).toEqual({
    n1: ["ws://n1:9", "ws://n1:1"],
    n2: ["ws://n2:1"],
    n3: ["ws://n3:9"],
  });
});

test("a reserved name and a lost voter are not dialed; the node that takes the place is", () => {
  const reserved = member("n4", { uid: "" as Member["uid"] });
  const lost = member("n2", { uid: uidOf("old"), isLost: true });
  const next = member("n2", { uid: uidOf("new"), address: "ws://new:9", isVoter: false });
  expect(Object.fromEntries(peersOf(viewOf(member("n1"), lost, reserved), elsewhere))).toEqual({ n1: ["ws://n1:9"] });
  for (const view of [viewOf(member("n1"), lost, next), viewOf(next, lost, member("n1"))]) {
    expect(Object.fromEntries(peersOf(view, elsewhere))).toEqual({ n1: ["ws://n1:9"], n2: ["ws://new:9"] });
  }
});

test("a node whose name belongs to another data directory is no member itself", () => {
  const view = viewOf(member("n1", { uid: uidOf("other") }), member("n2"));
  expect([...peersOf(view, self).keys()]).toEqual(["n2"]);
});

test("a node needs first voters, addresses to join, or a disk that has a cluster", () => {
  const base = { cluster: "demo", node: "n1", listen: "ws://127.0.0.1:1", dataDir: "d" };
  const config = parseNodeConfig(base);
  expect(() => checkHasCluster(viewOf(), config)).toThrow(/^voters, join: d has no cluster yet/);
  expect(() => checkHasCluster(viewOf(member("n1")), config)).not.toThrow();
  const joining = parseNodeConfig({ ...base, join: ["ws://127.0.0.1:2"] });
  expect(() => checkHasCluster(viewOf(), joining)).not.toThrow();
});
