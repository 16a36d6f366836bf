import { expect, test } from "vitest";
import { AetherError } from "../../src/base/errors.ts";
import { HandCluster } from "./consensus-cluster.ts";

function proposalsOf(cluster: HandCluster, name: string, since: number): readonly number[] {
  const slots = cluster.sent.slice(since).flatMap(({ from, message }) =>
    from === name && message.kind === "proposal" ? [message.slot] : [],
  );
  return [...new Set(slots)];
}

/** D, as this node last said it: below it it may have proposed before its start. */
function doubtOf(cluster: HandCluster, name: string): number {
  for (const { from, message } of [...cluster.sent].reverse()) {
    if (from === name && message.kind === "status") return message.doubtBelow;
  }
  return 0;
}

test("a restarted node never proposes where it may have proposed before, and votes with the others (C1)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("a", "x");
  cluster.settle();
  cluster.crash("b");
  const since = cluster.sent.length;
  await cluster.start("b");
  cluster.pass(500);
  expect(doubtOf(cluster, "b")).toBeGreaterThan(1);
  for (const command of ["y", "z"]) {
    cluster.put("a", command);
    cluster.settle();
  }
  expect(cluster.isAcknowledged("z")).toBe(true);
  expect(proposalsOf(cluster, "b", since)).toEqual([]);
  expect(cluster.transcript).toContain("b -> a  vote 2/0 [a1.3]");
});

test("a node in doubt that hears no majority of proposals votes ?, and the slot ends without it (C1)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("a", "x");
  cluster.settle();
  cluster.crash("b");
  await cluster.start("b");
  cluster.pass(500);
  const since = cluster.sent.length;
  cluster.lose = ({ from, message }) => from === "c" && message.kind === "proposal";
  cluster.hold = ({ message }) => message.kind === "ballot";
  cluster.put("a", "y");
  cluster.pass(100);
  expect(cluster.transcript).toContain("b -> a  vote 1/0 ?");
  expect(proposalsOf(cluster, "b", since)).toEqual([]);
  cluster.heal();
  cluster.passUntil(() => cluster.isAcknowledged("y"));
  expect(cluster.expectAgreement()).toEqual(["x", "y"]);
});

test("after a power cut every acknowledged write is there and doubtful slots are burned at once (C9)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("b", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  for (const name of ["a", "b", "c"]) cluster.crash(name);
  for (const name of ["a", "b", "c"]) await cluster.start(name);
  cluster.pass(1_000);
  const doubtBelow = Math.max(...["a", "b", "c"].map((name) => doubtOf(cluster, name)));
  cluster.put("a", "y");
  const waited = cluster.passUntil(() => cluster.isAcknowledged("y"));
  // One burn for all slots of a window together, not one patience per slot.
  expect(waited).toBeLessThan(200);
  expect(cluster.applied("a")).toBe(doubtBelow + 1);
  cluster.pass(1_000);
  expect(cluster.expectAgreement()).toEqual(["x", "y"]);
});

test("a vote that reached one disk before a power cut still counts, and its batch gets in later (C1, C4)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.node("c").disk.isStalled = true;
  cluster.lose = ({ from }) => from === "b";
  cluster.put("a", "x");
  cluster.settle();
  for (const name of ["a", "b", "c"]) cluster.crash(name);
  cluster.node("c").disk.isStalled = false;
  cluster.heal();
  cluster.transcript.length = 0;
  for (const name of ["a", "b", "c"]) await cluster.start(name);
  cluster.pass(1_000);
  cluster.put("c", "y");
  cluster.passUntil(() => cluster.isAcknowledged("y"));
  cluster.pass(2_000);
  // The others vote ?, as they are in doubt; what b says next follows from its own vote.
  expect(cluster.transcript).toContain("b -> a  state 0/1 [a1.1]");
  expect(cluster.transcript.some((line) => line.startsWith("b -> a  vote 0/0 ?"))).toBe(false);
  expect([...cluster.expectAgreement()].sort()).toEqual(["x", "y"]);
});

test("a decision that only one node knew survives its loss and a restart of the others (C5, C9)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  // Only a hears the votes.
  cluster.lose = ({ to, message }) => to !== "a" && message.kind === "ballot";
  cluster.put("a", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  for (const name of ["a", "b", "c"]) cluster.crash(name);
  cluster.heal();
  for (const name of ["b", "c"]) await cluster.start(name);
  cluster.pass(1_000);
  cluster.put("b", "y");
  cluster.passUntil(() => cluster.isAcknowledged("y"));
  expect(cluster.expectAgreement()).toEqual(["x", "y"]);
});

test("each start raises the incarnation: sequences begin anew and no two batches have one name (C8)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("a", "x");
  cluster.settle();
  for (let restart = 0; restart < 3; restart++) {
    cluster.crash("a");
    await cluster.start("a");
    cluster.pass(1_000);
    cluster.put("a", `y${restart}`);
    cluster.passUntil(() => cluster.isAcknowledged(`y${restart}`));
  }
  expect(cluster.driver("a").origin.incarnation).toBe(4);
  expect(cluster.expectAgreement()).toEqual(["x", "y0", "y1", "y2"]);
});

test("a crash while a write is under way never makes a node say two things (C1)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  for (let crashAt = 0; crashAt < 6; crashAt++) {
    cluster.put("b", `x${crashAt}`);
    for (let rounds = 0; rounds < crashAt; rounds++) cluster.round();
    cluster.crash("a");
    cluster.pass(50);
    await cluster.start("a");
    cluster.passUntil(() => cluster.isAcknowledged(`x${crashAt}`));
    cluster.passUntil(() => cluster.driver("a").status().isReady);
  }
  cluster.pass(2_000);
  expect(cluster.expectAgreement()).toHaveLength(6);
});

test("slots that were under way at a restart do not teach the node that slots are slow", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  // All have votes for eight slots on disk, and nobody has heard of another's.
  cluster.lose = ({ message }) => message.kind === "ballot";
  for (let at = 0; at < 8; at++) {
    cluster.put("b", `x${at}`);
    cluster.settle();
  }
  cluster.crash("a");
  cluster.heal();
  cluster.hold = ({ message }) => message.kind === "ballot" || message.kind === "decision";
  await cluster.start("a");
  cluster.pass(100);
  cluster.heal();
  cluster.pass(100);
  expect(cluster.applied("a")).toBeGreaterThanOrEqual(4);
  for (let at = 0; at < 64; at++) {
    cluster.put("b", `y${at}`);
    cluster.settle();
  }
  // Now proposals get lost, and a has to wait in phase 0 for its patience.
  cluster.lose = ({ message }) => message.kind === "proposal";
  cluster.put("b", "z");
  const hasLostPatience = (): boolean => cluster.transcript.some((line) => /^a -> b {2}vote \d+\/0 \?/.test(line));
  const waited = cluster.passUntil(hasLostPatience, 3_000);
  expect(waited).toBeLessThan(300);
});

test("a node that stops while its journal is being written answers unknown, not failed", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.node("a").disk.isStalled = true;
  cluster.lose = () => true;
  cluster.put("a", "x");
  cluster.crash("a");
  expect(cluster.outcomes.get("x")?.kind).toBe("unknown");
});

test("a restarted node is ready when every voter that is there has met it, not only a quorum", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.crash("b");
  // The connection of a and b takes longer than that of b and c, which are a quorum.
  cluster.hold = ({ from, to }) => [from, to].sort().join() === "a,b";
  await cluster.start("b");
  cluster.pass(500);
  expect(cluster.driver("b").status()).toMatchObject({ isReady: false, notReadyReason: "has not met a yet" });
  cluster.hold = () => false;
  cluster.passUntil(() => cluster.driver("b").status().isReady);
  cluster.crash("c");
  cluster.put("a", "x");
  cluster.settle();
  expect(cluster.outcomes.get("x")).toMatchObject({ kind: "applied" });
});

test("a restarted node waits a second for a voter that is not there, no longer, and once", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  for (const name of ["a", "b"]) cluster.crash(name);
  await cluster.start("b");
  cluster.pass(900);
  expect(cluster.driver("b").status()).toMatchObject({ isReady: false, notReadyReason: "has not met a yet" });
  cluster.pass(200);
  expect(cluster.driver("b").status().isReady).toBe(true);
  await cluster.start("a");
  cluster.crash("a");
  expect(cluster.driver("b").status().isReady).toBe(true);
});

test("a state that could not be read once is not believed later, until that of another node is here", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("a", "x");
  cluster.passUntil(() => cluster.node("c").state.commands.length === 1);
  cluster.crash("c");
  cluster.nextDamage = new AetherError("E_DATA_CORRUPT", "a block of the state cannot be read");
  await cluster.start("c");
  cluster.crash("c");
  cluster.nextDamage = undefined;
  await cluster.start("c");
  expect(cluster.node("c").state.needsSnapshot).toBe(true);
});
