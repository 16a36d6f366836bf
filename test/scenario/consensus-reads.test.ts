import { expect, test } from "vitest";
import { parseNodeId } from "../../src/base/ids.ts";
import { AUDIT_EVERY_SLOTS } from "../../src/consensus/core/state-audit.ts";
import { HandCluster } from "./consensus-cluster.ts";

test("a linearizable read on a node that missed the acknowledged write waits until it has it", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const isNews = (kind: string): boolean => ["ballot", "decision", "log"].includes(kind);
  cluster.lose = ({ to, message }) => to === "b" && isNews(message.kind);
  cluster.put("a", "x");
  cluster.pass(10);
  expect(cluster.isAcknowledged("x")).toBe(true);
  cluster.read("b", "r");
  cluster.pass(500);
  expect(cluster.reads.get("r")).toBeUndefined();
  cluster.heal();
  cluster.passUntil(() => cluster.reads.get("r")?.kind === "ready");
  expect(cluster.node("b").state.commands).toEqual(["x"]);
});

test("a read waits for the highest slot voted in, also where nobody who is left knows its decision (C9)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ to, message }) => to !== "a" && ["ballot", "decision"].includes(message.kind);
  cluster.put("a", "x");
  cluster.pass(10);
  expect(cluster.isAcknowledged("x")).toBe(true);
  // The one that knows the decision is gone; the other two have only voted.
  cluster.crash("a");
  cluster.read("c", "r");
  cluster.settle();
  expect(cluster.reads.get("r")).toBeUndefined();
  cluster.heal();
  cluster.passUntil(() => cluster.reads.get("r")?.kind === "ready");
  expect(cluster.node("c").state.commands).toEqual(["x"]);
});

test("a read on a quiet cluster takes one round trip and no durable write", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const writesBefore = cluster.node("b").disk.writes;
  cluster.read("b", "r");
  cluster.round();
  cluster.round();
  expect(cluster.reads.get("r")?.kind).toBe("ready");
  expect(cluster.node("b").disk.writes).toBe(writesBefore);
});

test("reads that come while a round is open are served by the next one, which begins after them", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.read("b", "first");
  const isReply = ({ message }: { message: { kind: string } }): boolean => message.kind === "read-index-reply";
  cluster.hold = isReply;
  cluster.round();
  // The replies of the first round are under way; now a write is acknowledged, and a read comes after it.
  cluster.lose = ({ to, message }) => to === "b" && !isReply({ message }) && message.kind !== "read-index";
  cluster.put("a", "x");
  cluster.pass(10);
  expect(cluster.isAcknowledged("x")).toBe(true);
  cluster.read("b", "second");
  cluster.hold = () => false;
  cluster.settle();
  expect(cluster.reads.get("first")?.kind).toBe("ready");
  expect(cluster.reads.get("second")).toBeUndefined();
  cluster.heal();
  cluster.passUntil(() => cluster.reads.get("second")?.kind === "ready");
});

test("an answer to a read round of this node's previous life answers no round of this one", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.hold = ({ to, message }) => to === "b" && message.kind === "read-index-reply";
  cluster.read("b", "old");
  cluster.settle();
  const late = cluster.sent.filter(({ to, message }) => to === "b" && message.kind === "read-index-reply");
  expect(late).toHaveLength(2);
  cluster.crash("b");
  cluster.heal();
  await cluster.start("b");
  cluster.passUntil(() => cluster.driver("b").status().isReady);
  cluster.lose = ({ to, message }) => to === "b" && message.kind !== "read-index-reply" && message.kind !== "hello";
  cluster.put("a", "x");
  cluster.pass(10);
  expect(cluster.isAcknowledged("x")).toBe(true);
  // The network gives up the old answers only now.
  cluster.hold = ({ to, message }) => to !== "b" && message.kind === "read-index";
  cluster.read("b", "new");
  for (const flight of late) cluster.inject(flight);
  cluster.settle();
  expect(cluster.reads.get("new")).toBeUndefined();
});

test("a node that sees no majority refuses reads and writes at once", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.crash("b");
  cluster.crash("c");
  cluster.pass(2_000);
  cluster.put("a", "x");
  cluster.read("a", "r");
  expect(cluster.outcomes.get("x")).toMatchObject({ kind: "refused", code: "E_NO_QUORUM" });
  expect(cluster.reads.get("r")).toMatchObject({ kind: "refused", code: "E_NO_QUORUM" });
});

test("a read that finds a new list of voters on its way asks again, for the quorums of that list count", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const isNews = (kind: string): boolean => ["batch", "proposal", "ballot", "decision", "log"].includes(kind);
  cluster.lose = ({ to, message }) => to === "b" && isNews(message.kind);
  cluster.driver("a").changeMembership({ kind: "remove", node: parseNodeId("c") }, () => undefined);
  cluster.pass(20);
  expect(cluster.applied("a")).toBeGreaterThan(0);
  cluster.read("b", "r");
  cluster.settle();
  // Its round was answered by the voters that it knows.
  expect(cluster.driver("b").replica.hasOpenRead).toBe(false);
  cluster.heal();
  cluster.lose = ({ to, message }) => to === "b" && message.kind === "read-index-reply";
  cluster.passUntil(() => cluster.applied("b") === cluster.applied("a"));
  expect(cluster.reads.get("r")).toBeUndefined();
  cluster.heal();
  cluster.passUntil(() => cluster.reads.get("r")?.kind === "ready");
});

test("a read that waits when voters turn out to disagree about the state is refused, not answered", async () => {
  const cluster = await HandCluster.formed(["a", "b"]);
  while (cluster.applied("a") < AUDIT_EVERY_SLOTS - 1) {
    cluster.put("a", "x");
    cluster.settle();
  }
  cluster.hold = ({ message }) => message.kind === "read-index-reply";
  cluster.read("a", "r");
  cluster.lose = ({ from, message }) => from === "b" && message.kind === "status";
  cluster.put("a", "last");
  cluster.pass(500);
  const told = cluster.sent.findLast(({ from, message }) => from === "b" && message.kind === "status");
  if (told?.message.kind !== "status") expect.unreachable("b says its state's hash");
  const hashes = told.message.hashes.map(({ slot, hash }) => ({ slot, hash: hash ^ 1 }));
  cluster.inject({ ...told, message: { ...told.message, hashes } });
  cluster.round();
  expect(cluster.driver("a").status().notReadyReason).toContain("voters disagree");
  cluster.heal();
  cluster.settle();
  expect(cluster.reads.get("r")).toMatchObject({ kind: "refused", code: "E_UNAVAILABLE" });
});
