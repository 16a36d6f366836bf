import { expect, test } from "vitest";
import { LONE_SLOTS_MIN } from "../../src/consensus/core/lone-writer.ts";
import { HandCluster } from "./consensus-cluster.ts";

const FIVE = ["a", "b", "c", "d", "e"];

/** `name` has written alone so often that it proposes its own batches. */
function writeAlone(cluster: HandCluster, name: string): void {
  for (let i = 0; i < LONE_SLOTS_MIN; i++) {
    cluster.put(name, `${name}-alone${i}`);
    cluster.pass(2);
  }
}

/** Rounds of the network and the disks until the write is acknowledged. */
function roundsUntil(cluster: HandCluster, command: string): number {
  let rounds = 0;
  for (; !cluster.isAcknowledged(command); rounds++) expect(cluster.round()).toBe(true);
  return rounds;
}

test.each([
  // A follower's write goes to the convener and its decision comes back from there, as long as others write too.
  { names: ["a", "b", "c"], first: { rounds: 4, frames: 8 }, alone: { rounds: 2, frames: 6 } },
  { names: FIVE, first: { rounds: 5, frames: 20 }, alone: { rounds: 3, frames: 16 } },
])("of $names.length voters one that writes alone saves two message delays", async ({ names, first, alone }) => {
  const cluster = await HandCluster.formed(names);
  const measure = (command: string): { readonly rounds: number; readonly frames: number } => {
    const framesBefore = cluster.frames;
    cluster.put("c", command);
    const rounds = roundsUntil(cluster, command);
    cluster.pass(2);
    return { rounds, frames: cluster.frames - framesBefore };
  };
  expect(measure("x")).toEqual(first);
  writeAlone(cluster, "c");
  expect(measure("y")).toEqual(alone);
  cluster.expectAgreement();
});

test("as soon as another one writes, the convener proposes again", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  writeAlone(cluster, "c");
  cluster.put("b", "other");
  cluster.settle();
  cluster.put("c", "x");
  expect(roundsUntil(cluster, "x")).toBe(4);
});

test("a convener that writes at the same moment costs a few milliseconds, once, and makes no slot null", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  writeAlone(cluster, "c");
  cluster.put("c", "x");
  cluster.put("a", "y");
  const waited = cluster.passUntil(() => cluster.isAcknowledged("x") && cluster.isAcknowledged("y"));
  expect(waited).toBeLessThan(20);
  expect(cluster.transcript.filter((line) => line.includes("null"))).toEqual([]);
  // Now they write in turns, through the convener.
  cluster.pass(1_000);
  cluster.put("c", "z");
  expect(roundsUntil(cluster, "z")).toBe(4);
  expect(cluster.expectAgreement()).toHaveLength(LONE_SLOTS_MIN + 3);
});

test("three that write at the same moment are all served", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  writeAlone(cluster, "c");
  for (const name of ["c", "b", "a"]) cluster.put(name, `${name}-x`);
  const isServed = (): boolean => ["a", "b", "c"].every((name) => cluster.isAcknowledged(`${name}-x`));
  expect(cluster.passUntil(isServed)).toBeLessThan(100);
  cluster.pass(1_000);
  expect(cluster.expectAgreement()).toHaveLength(LONE_SLOTS_MIN + 3);
});

test.each([["a", "b", "c"], FIVE])("one that dies before it tells what was decided leaves it to the others", async (
  ...names
) => {
  const cluster = await HandCluster.formed(names);
  writeAlone(cluster, "c");
  cluster.lose = ({ from, message }) => from === "c" && message.kind === "decision";
  cluster.put("c", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  cluster.crash("c");
  cluster.lose = () => false;
  const others = names.filter((name) => name !== "c");
  cluster.passUntil(() => others.every((name) => cluster.applied(name) === LONE_SLOTS_MIN + 1));
  expect(cluster.expectAgreement()).toContain("x");
});

test("one that hears nothing any more holds nobody up longer than the convener would (C9)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  writeAlone(cluster, "c");
  cluster.lose = ({ to }) => to === "c";
  cluster.put("c", "x");
  cluster.settle();
  cluster.put("a", "y");
  expect(cluster.passUntil(() => cluster.isAcknowledged("y"))).toBeLessThan(50);
  cluster.heal();
  cluster.passUntil(() => cluster.isAcknowledged("x"));
  cluster.pass(1_000);
  expect(cluster.expectAgreement()).toHaveLength(LONE_SLOTS_MIN + 2);
});

test("a write waits for a missing voter no longer than the convener's would (C9)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  writeAlone(cluster, "c");
  cluster.lose = ({ to }) => to === "a";
  cluster.put("c", "x");
  expect(cluster.passUntil(() => cluster.isAcknowledged("x"))).toBeLessThan(20);
});
