import { expect, test } from "vitest";
import { HandCluster } from "./consensus-cluster.ts";

const FIVE = ["a", "b", "c", "d", "e"];
const SEVEN = [...FIVE, "f", "g"];

test.each([
  // Proposals, echoes that complete quorums, votes, the decision.
  { names: FIVE, frames: 4 + 4 + 4 + 4 },
  { names: SEVEN, frames: 6 + 12 + 6 + 6 },
])("$names.length voters decide a write in $frames frames and three message delays", async ({ names, frames }) => {
  const cluster = await HandCluster.formed(names);
  const framesBefore = cluster.frames;
  cluster.put("a", "x");
  let rounds = 0;
  for (; !cluster.isAcknowledged("x"); rounds++) expect(cluster.round()).toBe(true);
  expect(rounds).toBe(3);
  cluster.pass(2);
  expect(cluster.expectAgreement()).toEqual(["x"]);
  expect(cluster.frames - framesBefore).toBe(frames);
});

test("a follower that stands still holds the others up for the convener's own vote at most (C9)", async () => {
  const cluster = await HandCluster.formed(FIVE);
  cluster.lose = ({ from, to }) => from === "b" || to === "b";
  cluster.put("a", "x");
  expect(cluster.passUntil(() => cluster.isAcknowledged("x"))).toBeLessThan(10);
  // Nobody else waits for it either: they are told.
  expect(cluster.applied("d")).toBe(1);
});

test("two followers that stand still make everybody tell everybody, before anybody loses patience", async () => {
  const cluster = await HandCluster.formed(FIVE);
  cluster.lose = ({ from, to }) => [from, to].some((node) => node === "b" || node === "d");
  cluster.put("a", "x");
  expect(cluster.passUntil(() => cluster.isAcknowledged("x"))).toBeLessThan(20);
  expect(cluster.transcript.filter((line) => line.includes("null"))).toEqual([]);
});

test("a convener that dies before it tells anybody what was decided leaves the slot to the others", async () => {
  const cluster = await HandCluster.formed(FIVE);
  cluster.lose = ({ from, message }) => from === "a" && message.kind === "decision";
  cluster.put("a", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  cluster.crash("a");
  cluster.lose = () => false;
  cluster.passUntil(() => FIVE.slice(1).every((name) => cluster.applied(name) === 1));
  expect(cluster.expectAgreement()).toEqual(["x"]);
});

test("who gathers the votes is a hint: a convener of another opinion costs time, never agreement", async () => {
  const cluster = await HandCluster.formed(FIVE);
  // b and c do not hear a: they take b for the convener once they suspect a, while d and e still tell a.
  cluster.partLink("a", "b");
  cluster.partLink("a", "c");
  for (const [at, name] of FIVE.entries()) cluster.put(name, `w${at}`);
  cluster.passUntil(() => FIVE.every((_, at) => cluster.isAcknowledged(`w${at}`)));
  cluster.heal();
  cluster.joinLink("a", "b");
  cluster.joinLink("a", "c");
  cluster.pass(2_000);
  expect([...cluster.expectAgreement()].sort()).toEqual(["w0", "w1", "w2", "w3", "w4"]);
});
