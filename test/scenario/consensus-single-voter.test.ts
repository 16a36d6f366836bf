import { expect, test } from "vitest";
import { HandCluster } from "./consensus-cluster.ts";

test("a single voter forms by itself and decides with one durable write and no message", async () => {
  const cluster = await HandCluster.formed(["a"]);
  const writesBefore = cluster.node("a").disk.writes;
  cluster.put("a", "x");
  expect(cluster.isAcknowledged("x")).toBe(false);
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  expect(cluster.node("a").disk.writes - writesBefore).toBe(1);
  expect(cluster.sent).toEqual([]);
  cluster.read("a", "r");
  expect(cluster.reads.get("r")?.kind).toBe("ready");
});

test("a single voter that restarts burns its doubtful slots and has every acknowledged write (C9)", async () => {
  const cluster = await HandCluster.formed(["a"]);
  for (const command of ["x", "y"]) {
    cluster.put("a", command);
    cluster.settle();
  }
  cluster.crash("a");
  await cluster.start("a");
  cluster.passUntil(() => cluster.driver("a").status().isReady);
  cluster.put("a", "z");
  expect(cluster.passUntil(() => cluster.isAcknowledged("z"))).toBeLessThan(200);
  expect(cluster.expectAgreement()).toEqual(["x", "y", "z"]);
});

test("two voters decide together and stand still alone", async () => {
  const cluster = await HandCluster.formed(["a", "b"]);
  cluster.put("b", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  cluster.crash("b");
  cluster.put("a", "y");
  cluster.pass(3_000);
  expect(cluster.isAcknowledged("y")).toBe(false);
});
