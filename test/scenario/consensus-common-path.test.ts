import { expect, test } from "vitest";
import { HandCluster } from "./consensus-cluster.ts";

test("three nodes decide a write in one round trip, one durable write of each follower and four frames", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const writesBefore = [...cluster.nodes.values()].map(({ disk }) => disk.writes);
  const sentBefore = cluster.sent.length;
  const framesBefore = cluster.frames;
  cluster.put("a", "x");
  let rounds = 0;
  for (; !cluster.isAcknowledged("x"); rounds++) expect(cluster.round()).toBe(true);
  // The batch and the proposals go there, the votes come back.
  expect(rounds).toBe(2);
  const writes = [...cluster.nodes.values()].map(({ disk }, at) => disk.writes - (writesBefore[at] ?? 0));
  // The votes of the followers are a quorum: the proposer's own is not needed.
  expect(writes).toEqual([0, 1, 1]);
  const kinds = cluster.sent.slice(sentBefore).map(({ message }) => message.kind);
  expect(kinds.filter((kind) => kind === "batch")).toHaveLength(2);
  expect(kinds.filter((kind) => kind !== "batch")).toHaveLength(6);
  expect(cluster.frames - framesBefore).toBe(4);
  // Nobody there waits for the decision: it leaves with what comes next, or a moment later.
  cluster.pass(2);
  expect(cluster.frames - framesBefore).toBe(6);
  expect(cluster.expectAgreement()).toEqual(["x"]);
  await expect(cluster.transcript.join("\n")).toMatchFileSnapshot("consensus-common-path.golden.txt");
});

test("a write of a follower takes two more message delays: to the convener, and back from it", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("c", "x");
  let rounds = 0;
  for (; !cluster.isAcknowledged("x"); rounds++) expect(cluster.round()).toBe(true);
  expect(rounds).toBe(4);
  expect(cluster.transcript).toContain("a -> b  proposal 0 [c1.1]");
});

test("writes of one turn share a slot, a durable write and their frames", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const writesBefore = cluster.node("b").disk.writes;
  const driver = cluster.driver("a");
  const results: unknown[] = [];
  for (let i = 0; i < 100; i++) driver.propose(Buffer.of(0xa1, 0x61), (outcome) => results.push(outcome));
  cluster.clock.settle();
  cluster.settle();
  expect(results).toHaveLength(100);
  expect(cluster.applied("a")).toBe(1);
  expect(cluster.node("b").disk.writes - writesBefore).toBe(1);
});

test("an ordinary write needs only a majority: one node that hears nothing holds nobody up (C9)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ to }) => to === "c";
  cluster.put("a", "x");
  // The proposer, whose vote is needed now, waits a moment for the one that is missing.
  cluster.pass(10);
  expect(cluster.isAcknowledged("x")).toBe(true);
  expect(cluster.node("c").state.commands).toEqual([]);
});

test("nothing is acknowledged while only one disk has finished its write (C9)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.node("b").disk.isStalled = true;
  cluster.node("c").disk.isStalled = true;
  cluster.put("a", "x");
  cluster.pass(2_000);
  expect(cluster.isAcknowledged("x")).toBe(false);
  cluster.node("c").disk.isStalled = false;
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
});

test("a vote leaves only after its write has ended, and counts nowhere before (C1)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.node("a").disk.isStalled = true;
  cluster.put("a", "x");
  cluster.settle();
  const votes = cluster.sent.filter(({ from, message }) => from === "a" && message.kind === "ballot");
  expect(votes).toEqual([]);
  // The two others are a quorum: the convener learns the decision before its own vote is on disk.
  expect(cluster.isAcknowledged("x")).toBe(true);
});

test("a dead convener costs one patience, and the next write of the successor none", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("a", "before");
  cluster.settle();
  cluster.crash("a");
  cluster.put("b", "x");
  // The closed connection says it at once: b convenes without waiting.
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
});

test("a convener that stands still is passed over after the patience of the waiting node", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  // Connected, and silent from now on.
  cluster.lose = ({ from, to }) => from === "a" || to === "a";
  cluster.put("b", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(false);
  const waited = cluster.passUntil(() => cluster.isAcknowledged("x"));
  expect(waited).toBeLessThan(100);
  expect(cluster.driver("b").status().hasQuorum).toBe(true);
});

test("two conveners at the two ends of a cut link make a null slot, then both batches get in (C5, C8)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c", "d"]);
  cluster.partLink("a", "b");
  const isProposal = (from: string, to: string) => (flight: { from: string; to: string; message: { kind: string } }) =>
    flight.from === from && flight.to === to && flight.message.kind === "proposal";
  const late = [isProposal("a", "d"), isProposal("b", "c")];
  cluster.hold = (flight) => late.some((is) => is(flight));
  cluster.put("a", "x");
  cluster.put("b", "y");
  cluster.round();
  cluster.hold = () => false;
  cluster.passUntil(() => cluster.isAcknowledged("x") && cluster.isAcknowledged("y"));
  expect(cluster.transcript.filter((line) => line.includes("decides 0 null"))).not.toEqual([]);
  cluster.heal();
  cluster.joinLink("a", "b");
  cluster.pass(2_000);
  expect([...cluster.expectAgreement()].sort()).toEqual(["x", "y"]);
});

test("a small batch of a follower reaches the others with the convener's proposal, a large one at once", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("c", "x");
  while (!cluster.isAcknowledged("x")) expect(cluster.round()).toBe(true);
  const batches = cluster.transcript.filter((line) => line.includes("batch c1.1"));
  expect(batches).toEqual(["c -> a  batch c1.1", "a -> b  batch c1.1"]);
  cluster.put("c", "y".repeat(65 * 1024));
  cluster.settle();
  const large = cluster.transcript.filter((line) => line.includes("batch c1.2"));
  expect(large).toEqual(["c -> a  batch c1.2", "c -> b  batch c1.2"]);
});
