import { expect, test } from "vitest";
import { type FlightFilter, HandCluster } from "./consensus-cluster.ts";

/** What says something about `slot` to a voter, and is not the content of a batch. */
function isAbout(slot: number, to: string): FlightFilter {
  return ({ to: receiver, message }) => {
    if (receiver !== to) return false;
    if (message.kind === "proposal" || message.kind === "decision") return message.slot === slot;
    if (message.kind === "log") return message.entries.some((entry) => entry.slot === slot);
    return message.kind === "ballot" && message.ballot.slot === slot;
  };
}

test("a replica that missed a decision adopts it from any peer (C5)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ to, message }) => to === "c" && message.kind === "ballot";
  cluster.put("a", "x");
  cluster.settle();
  expect(cluster.applied("c")).toBe(0);
  cluster.heal();
  cluster.passUntil(() => cluster.applied("c") === 1);
  expect(cluster.transcript).toContain("c  decides 0 [a1.1] (told)");
  expect(cluster.expectAgreement()).toEqual(["x"]);
});

test("a replica that heard nothing of the last write learns it although the cluster is idle", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ to }) => to === "c";
  cluster.put("a", "x");
  cluster.settle();
  cluster.heal();
  cluster.passUntil(() => cluster.applied("c") === 1, 3_000);
  expect(cluster.expectAgreement()).toEqual(["x"]);
});

test("a proposal waits for its batch, which is pulled, and only then counts (C6)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.crash("b");
  cluster.lose = ({ to, message }) => to === "c" && message.kind === "batch";
  cluster.put("a", "x");
  cluster.settle();
  expect(cluster.transcript.filter((line) => line.startsWith("c -> a"))).toEqual([]);
  cluster.heal();
  cluster.passUntil(() => cluster.isAcknowledged("x"));
  expect(cluster.transcript).toContain("c -> a  pull-batches a1.1");
  const voted = cluster.transcript.indexOf("c -> a  vote 0/0 [a1.1]");
  expect(voted).toBeGreaterThan(cluster.transcript.lastIndexOf("a -> c  batch a1.1"));
});

test("a missing batch is asked for a few times, not at every tick, while its content is under way", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.crash("b");
  // A far or busy peer: the content needs 200 ms.
  cluster.hold = ({ message }) => message.kind === "batch";
  cluster.put("a", "x");
  cluster.pass(200);
  const pulls = cluster.transcript.filter((line) => line.startsWith("c -> a  pull-batches"));
  expect(pulls.length).toBeGreaterThan(0);
  expect(pulls.length).toBeLessThanOrEqual(8);
  cluster.heal();
  cluster.passUntil(() => cluster.isAcknowledged("x"));
});

test("a gap that nobody proposed for is closed with a NOOP, and what is above it is applied (C7)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ from, message }) => {
    if (from !== "a") return false;
    if (message.kind === "batch") return message.id.sequence === 1;
    return message.kind === "proposal" && message.slot === 0;
  };
  cluster.put("a", "lost");
  cluster.put("a", "x");
  cluster.round();
  cluster.crash("a");
  cluster.heal();
  cluster.passUntil(() => cluster.applied("b") === 2 && cluster.applied("c") === 2);
  expect(cluster.transcript).toContain("b  decides 0 [] (phase 0)");
  expect(cluster.transcript).toContain("b  decides 1 [a1.2] (phase 0)");
  expect(cluster.expectAgreement()).toEqual(["x"]);
});

test("votes that were all lost are sent again until the slot is decided", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ message }) => message.kind === "ballot";
  cluster.put("a", "x");
  cluster.pass(300);
  expect(cluster.isAcknowledged("x")).toBe(false);
  cluster.heal();
  expect(cluster.passUntil(() => cluster.isAcknowledged("x"))).toBeLessThan(1_300);
});

test("a batch that reached nobody is sent again by its origin", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ message }) => message.kind === "batch" || message.kind === "proposal";
  cluster.put("b", "x");
  cluster.settle();
  cluster.heal();
  expect(cluster.passUntil(() => cluster.isAcknowledged("x"))).toBeLessThan(2_000);
});

test("a batch that is decided in two slots runs once (C8)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.hold = isAbout(1, "b");
  for (const command of ["u", "x", "w"]) cluster.put("a", command);
  cluster.settle();
  // b saw the slots around it and has the batch of slot 1, but no proposal that holds it: it proposes it once more.
  cluster.passUntil(() => cluster.transcript.some((line) => /decides [3-9] \[a1\.2\]/.test(line)));
  cluster.heal();
  cluster.pass(3_000);
  expect(cluster.transcript.some((line) => line.startsWith("b  decides 1 [a1.2]"))).toBe(true);
  expect(cluster.expectAgreement()).toEqual(["u", "x", "w"]);
});

test("a node that was away for more than the window catches up from the log of a peer (C7)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"], { windowSlots: 8 });
  cluster.crash("c");
  const commands = Array.from({ length: 60 }, (_, at) => `x${at}`);
  for (const command of commands) {
    cluster.put("a", command);
    cluster.settle();
  }
  expect(cluster.applied("a")).toBe(60);
  cluster.pass(100);
  await cluster.start("c");
  expect(cluster.driver("c").status().isReady).toBe(false);
  cluster.passUntil(() => cluster.driver("c").status().isReady && cluster.applied("c") === 60);
  expect(cluster.sent.some(({ to, message }) => to === "c" && message.kind === "log")).toBe(true);
  expect(cluster.expectAgreement()).toEqual(commands);
});

/** c has missed 60 slots, is back, and gets no answer about the log as long as `hold` is not changed. */
async function withFarBehind(): Promise<HandCluster> {
  const cluster = await HandCluster.formed(["a", "b", "c"], { windowSlots: 8 });
  cluster.crash("c");
  for (let at = 0; at < 60; at++) {
    cluster.put("a", `x${at}`);
    cluster.settle();
  }
  await cluster.start("c");
  cluster.hold = ({ to, message }) => to === "c" && message.kind === "log";
  return cluster;
}

test("a node that is far behind is not sent the log again and again while an answer is under way", async () => {
  const cluster = await withFarBehind();
  cluster.pass(1_000);
  cluster.hold = () => false;
  cluster.passUntil(() => cluster.driver("c").status().isReady && cluster.applied("c") === 60);
  const answers = cluster.sent.flatMap(({ to, message }) => (to === "c" && message.kind === "log" ? [message] : []));
  // Asked for again while the first answer was on its way: after 200 ms, and 400 ms after that.
  expect(answers.reduce((slots, { entries }) => slots + entries.length, 0)).toBeLessThanOrEqual(3 * 60);
});

test("a node that stood still reads what has arrived before it asks for the log again", async () => {
  const cluster = await withFarBehind();
  const questions = (): number =>
    cluster.sent.filter(({ from, message }) => from === "c" && message.kind === "pull-log").length;
  cluster.passUntil(() => questions() === 1);
  cluster.standStill(500);
  expect(questions()).toBe(1);
  cluster.hold = () => false;
  cluster.passUntil(() => cluster.applied("c") === 60);
});

test("a node whose log has a batch that ran long ago serves slots that repeat it without content", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"], { windowSlots: 8 });
  cluster.hold = isAbout(1, "b");
  for (const command of ["u", "x", "w"]) cluster.put("a", command);
  cluster.passUntil(() => cluster.transcript.some((line) => /decides [3-9] \[a1\.2\]/.test(line)));
  cluster.heal();
  cluster.pass(3_000);
  cluster.crash("c");
  for (let at = 0; at < 40; at++) {
    cluster.put("a", `x${at}`);
    cluster.settle();
  }
  // Everything from the first slot on, from a journal that was read from disk.
  cluster.crash("a");
  await cluster.start("a");
  cluster.node("c").disk = cluster.node("c").disk.copy();
  await cluster.start("c");
  cluster.pass(3_000);
  expect(cluster.expectAgreement().filter((command) => command === "x")).toEqual(["x"]);
});
