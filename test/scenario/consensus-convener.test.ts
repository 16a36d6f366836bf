import { expect, test } from "vitest";
import { HandCluster } from "./consensus-cluster.ts";

test("a convener whose slots are all under way is not to blame when batches wait: nobody passes it over", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  for (const name of ["b", "c"]) cluster.node(name).disk.isStalled = true;
  // Eight slots are in flight, as many as there may be, and none can end while two disks hang.
  for (const name of ["a", "b"]) {
    for (let at = 0; at < 4; at++) {
      cluster.put(name, `${name}${at}`);
      cluster.settle();
    }
  }
  cluster.put("c", "x");
  cluster.pass(300);
  expect(cluster.isAcknowledged("x")).toBe(false);
  for (const name of ["b", "c"]) cluster.node(name).disk.isStalled = false;
  cluster.passUntil(() => cluster.isAcknowledged("x"));
  expect(cluster.driver("c").replica.convener()).toBe("a");
  expect(cluster.driver("b").replica.convener()).toBe("a");
});

test("a decision that contradicts the own one stops the node rather than let two states grow (C5)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.hold = ({ message }) => message.kind === "ballot" && message.ballot.slot === 0;
  cluster.put("a", "x");
  cluster.put("a", "y");
  cluster.settle();
  cluster.inject({ from: "b", to: "a", message: { kind: "decision", slot: 1, outcome: 0 } });
  cluster.settle();
  expect(cluster.node("a").fatal.map(({ code }) => code)).toEqual(["E_INTERNAL"]);
  expect(cluster.node("a").fatal[0]?.message).toContain("C5");
});

test("a batch that only the convener has when it dies is told to everybody at once", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.put("c", "x");
  cluster.crash("a");
  // b convenes now, and waits for nobody's patience.
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  expect(cluster.transcript).toContain("b -> c  proposal 0 [c1.1]");
});

test("votes that only the convener has when it dies are told to everybody at once", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ to, message }) => to === "a" && message.kind === "ballot";
  cluster.put("a", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(false);
  cluster.crash("a");
  cluster.settle();
  expect(cluster.applied("b")).toBe(1);
  expect(cluster.expectAgreement()).toEqual(["x"]);
});
