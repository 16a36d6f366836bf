import { expect, test } from "vitest";
import type { Message } from "../../src/consensus/core/message.ts";
import { HandCluster } from "./consensus-cluster.ts";

function nullVote(slot: number): Message {
  return { kind: "ballot", ballot: { kind: "vote", slot, phase: 0, choice: 0 }, writeNumber: 1 };
}

test("ballots for slots beyond the window count for nothing and take no memory (C10)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"], { windowSlots: 8 });
  const { slots } = cluster.driver("a").replica;
  for (const slot of [8, 9, 1_000_000]) {
    for (const from of ["b", "c"]) cluster.inject({ from, to: "a", message: nullVote(slot) });
  }
  cluster.round();
  for (const slot of [8, 9, 1_000_000]) expect(slots.peek(slot)).toBeUndefined();
  expect(slots.inFlight).toBe(0);
  expect(slots.active).toBe(0);
});

test("a ballot of a phase that no honest slot reaches is dropped", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const ballot = { kind: "vote", slot: 0, phase: 4_000_000_000, choice: 0 } as const;
  cluster.inject({ from: "b", to: "a", message: { kind: "ballot", ballot, writeNumber: 1 } });
  cluster.settle();
  expect(cluster.node("a").fatal).toEqual([]);
});

test("a node far behind votes for nothing beyond its window and is no convener meanwhile (C10)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"], { windowSlots: 8 });
  cluster.crash("a");
  for (let at = 0; at < 30; at++) {
    cluster.put("b", `x${at}`);
    cluster.settle();
  }
  cluster.pass(200);
  await cluster.start("a");
  cluster.lose = ({ to, message }) => to === "a" && message.kind === "log";
  cluster.pass(500);
  expect(cluster.driver("b").replica.convener()).toBe("b");
  const since = cluster.sent.length;
  cluster.put("c", "y");
  cluster.pass(500);
  expect(cluster.isAcknowledged("y")).toBe(true);
  const ballots = cluster.sent.slice(since).flatMap(({ from, message }) =>
    from === "a" && message.kind === "ballot" ? [message.ballot.slot] : [],
  );
  expect(ballots.filter((slot) => slot >= 30)).toEqual([]);
  cluster.heal();
  cluster.passUntil(() => cluster.applied("a") >= 31);
  expect(cluster.expectAgreement()).toHaveLength(31);
});

test("a convener that never votes moves H with what it applies, and goes on without patience", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"], { windowSlots: 8 });
  for (let count = 0; count < 40; count++) {
    cluster.put("a", `x${count}`);
    cluster.passUntil(() => cluster.isAcknowledged(`x${count}`));
  }
  expect(["a", "b", "c"].map((name) => cluster.driver(name).patienceFirings)).toEqual([0, 0, 0]);
});
