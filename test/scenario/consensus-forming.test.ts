import { expect, test } from "vitest";
import { assert } from "../../src/base/assert.ts";
import { type Flight, HandCluster } from "./consensus-cluster.ts";

test("a cluster forms when all first voters have met; two of three are not enough", async () => {
  const cluster = new HandCluster(["a", "b", "c"]);
  for (const name of ["a", "b"]) await cluster.start(name);
  cluster.pass(10_000);
  expect(cluster.driver("a").status().notReadyReason).toContain("not met yet: c");
  cluster.put("a", "x");
  expect(cluster.outcomes.get("x")).toMatchObject({ kind: "refused", code: "E_UNAVAILABLE" });
  await cluster.start("c");
  cluster.passUntil(() => ["a", "b", "c"].every((name) => cluster.driver(name).status().isReady));
  cluster.put("a", "y");
  cluster.pass(2);
  expect(cluster.expectAgreement()).toEqual(["y"]);
});

test("no ballot leaves before the list of voters is on every disk", async () => {
  const cluster = new HandCluster(["a", "b", "c"]);
  for (const name of ["a", "b", "c"]) await cluster.start(name);
  cluster.node("c").disk.isStalled = true;
  cluster.pass(5_000);
  expect(cluster.driver("a").status().isReady).toBe(false);
  cluster.node("c").disk.isStalled = false;
  cluster.passUntil(() => cluster.driver("a").status().isReady);
});

test("a formed cluster starts again with a quorum of its voters", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  for (const name of ["a", "b", "c"]) cluster.crash(name);
  await cluster.start("b");
  cluster.pass(5_000);
  expect(cluster.driver("b").status().isReady).toBe(false);
  await cluster.start("c");
  cluster.passUntil(() => cluster.driver("b").status().isReady);
  cluster.put("b", "x");
  cluster.passUntil(() => cluster.isAcknowledged("x"));
});

test("two voters form although the third, which had confirmed the list, dies before both know of that", async () => {
  const cluster = new HandCluster(["a", "b", "c"]);
  for (const name of ["a", "b", "c"]) await cluster.start(name);
  // b has the list on disk and says so, but hears nothing: it cannot know that the others have it too.
  const tellsList = ({ message }: Flight): boolean => message.kind === "hello" && message.listDigest !== undefined;
  const hasTold = (name: string): boolean => cluster.sent.some((flight) => flight.from === name && tellsList(flight));
  cluster.lose = (flight) => flight.to === "b" && tellsList(flight);
  cluster.passUntil(() => hasTold("b") && cluster.driver("a").replica.admission.isFormed);
  expect(cluster.driver("b").replica.admission.isFormed).toBe(false);
  cluster.crash("b");
  cluster.crash("c");
  cluster.heal();
  await cluster.start("b");
  cluster.pass(5_000);
  expect(cluster.driver("a").status().notReadyReason).toBeUndefined();
  expect(cluster.driver("b").status().notReadyReason).toBeUndefined();
});

test("a crash of any node at any moment of forming only delays it", async () => {
  for (const victim of ["a", "b", "c"]) {
    for (let rounds = 0; rounds < 8; rounds++) {
      const cluster = new HandCluster(["a", "b", "c"]);
      for (const name of ["a", "b", "c"]) await cluster.start(name);
      for (let round = 0; round < rounds; round++) cluster.round();
      cluster.crash(victim);
      cluster.pass(300);
      await cluster.start(victim);
      cluster.passUntil(() => ["a", "b", "c"].every((name) => cluster.driver(name).status().isReady));
      cluster.put(victim, "x");
      cluster.passUntil(() => cluster.isAcknowledged("x"));
    }
  }
});

test("before the cluster has formed a replaced directory is just a first voter: nothing was promised", async () => {
  const cluster = new HandCluster(["a", "b", "c"]);
  for (const name of ["a", "b"]) await cluster.start(name);
  cluster.pass(500);
  cluster.crash("b");
  cluster.wipe("b");
  await cluster.start("b");
  cluster.pass(500);
  await cluster.start("c");
  cluster.passUntil(() => ["a", "b", "c"].every((name) => cluster.driver(name).status().isReady), 3_000);
});

test("a wiped node is refused with E_DATA_LOST and stops; the others go on", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.crash("c");
  cluster.wipe("c");
  await cluster.start("c");
  cluster.pass(1_000);
  expect(cluster.node("c").fatal.map(({ code }) => code)).toEqual(["E_DATA_LOST"]);
  cluster.put("a", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  expect(cluster.node("a").fatal).toEqual([]);
});

test("a node on an older copy of its disk is refused with E_DATA_LOST before it says anything (C1)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const backup = cluster.node("c").disk.copy();
  for (const command of ["x", "y", "z"]) {
    cluster.put("a", command);
    cluster.settle();
  }
  cluster.crash("c");
  cluster.node("c").disk = backup;
  const since = cluster.sent.length;
  await cluster.start("c");
  cluster.pass(1_000);
  expect(cluster.node("c").fatal.map(({ code }) => code)).toEqual(["E_DATA_LOST"]);
  const said = cluster.sent.slice(since).filter(({ from, message }) => from === "c" && message.kind === "ballot");
  expect(said).toEqual([]);
});

test("an older copy is refused also when only one voter heard what it lacks: its refusal is proof (C1)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const backup = cluster.node("c").disk.copy();
  cluster.partLink("a", "c");
  for (const command of ["x", "y", "z"]) {
    cluster.put("c", command);
    cluster.pass(200);
  }
  cluster.crash("c");
  cluster.node("c").disk = backup;
  cluster.heal();
  await cluster.start("c");
  cluster.pass(1_000);
  expect(cluster.node("c").fatal.map(({ code }) => code)).toEqual(["E_DATA_LOST"]);
});

test("the promise of a voter is remembered across the restart of the one who heard it", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const backup = cluster.node("c").disk.copy();
  for (const command of ["x", "y", "z"]) {
    cluster.put("a", command);
    cluster.settle();
  }
  for (const name of ["a", "b", "c"]) cluster.crash(name);
  cluster.node("c").disk = backup;
  for (const name of ["a", "b", "c"]) await cluster.start(name);
  cluster.pass(1_000);
  expect(cluster.node("c").fatal.map(({ code }) => code)).toEqual(["E_DATA_LOST"]);
});

test("what others say of a start that a voter has not met is no promise of the start before it", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.crash("c");
  cluster.pass(10);
  cluster.cut("b", "c");
  await cluster.start("c");
  cluster.pass(100);
  // Until nobody is in doubt: from then on c votes to a alone, and b hears of it from a.
  for (let at = 0; at < 300; at++) {
    cluster.put("a", `w${at}`);
    cluster.pass(2);
  }
  const told = cluster.sent.filter(({ to, message }) => to === "b" && message.kind === "decision" && message.heard);
  expect(told.length).toBeGreaterThan(0);
  cluster.heal();
  cluster.joinLink("b", "c");
  cluster.pass(2_000);
  expect(cluster.node("c").fatal).toEqual([]);
  cluster.expectAgreement();
});

test("of two processes on copies of one disk, each accepted by another voter, one has to go (C1)", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.lose = ({ to, message }) => to === "b" && message.kind === "decision";
  cluster.put("a", "x");
  cluster.pass(3);
  const told = cluster.sent.map(({ message }) => message).find(({ kind }) => kind === "decision");
  assert(told?.kind === "decision" && told.heard !== undefined, "a has gathered the votes");
  cluster.heal();
  // What a says when it is the other one that it has met, which began at the same write.
  const { startId, startWrite } = cluster.driver("c").replica.admission.self;
  const heard = [...told.heard.slice(0, 2), { startId: `not ${startId}`, writeNumber: startWrite + 1 }];
  cluster.inject({ from: "a", to: "b", message: { ...told, heard } });
  cluster.pass(1_000);
  expect(cluster.node("c").fatal.map(({ code }) => code)).toEqual(["E_DATA_LOST"]);
  expect(cluster.node("b").fatal).toEqual([]);
});

test("the data directory of a node of another cluster of the same name is refused with E_DATA_FOREIGN", async () => {
  const other = await HandCluster.formed(["a", "b", "c"], { seed: 2 });
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.crash("c");
  cluster.node("c").disk = other.node("c").disk.copy();
  await cluster.start("c");
  cluster.pass(1_000);
  expect(cluster.node("c").fatal.map(({ code }) => code)).toEqual(["E_DATA_FOREIGN"]);
});

test("the data directory of another cluster, node or list of voters is refused before anything is sent", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  cluster.crash("c");
  await expect(cluster.start("c", { cluster: "another" })).rejects.toMatchObject({ code: "E_DATA_FOREIGN" });
  cluster.node("c").disk = cluster.node("b").disk.copy();
  await expect(cluster.start("c")).rejects.toMatchObject({ code: "E_DATA_FOREIGN" });
});

test("one confused peer does not stop a healthy node, and two of three do", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const startId = cluster.driver("c").replica.admission.self.startId;
  const refusal = { code: "E_DATA_LOST", message: "not the voter it was", isProof: false } as const;
  cluster.inject({ from: "a", to: "c", message: { kind: "hello-reply", startId, refusal } });
  cluster.settle();
  expect(cluster.node("c").fatal).toEqual([]);
  cluster.put("c", "x");
  cluster.settle();
  expect(cluster.isAcknowledged("x")).toBe(true);
  cluster.inject({ from: "b", to: "c", message: { kind: "hello-reply", startId, refusal } });
  cluster.settle();
  expect(cluster.node("c").fatal.map(({ code }) => code)).toEqual(["E_DATA_LOST"]);
});

test("a refusal that was meant for an earlier start of this node changes nothing", async () => {
  const cluster = await HandCluster.formed(["a", "b", "c"]);
  const refusal = { code: "E_DATA_LOST", message: "not the voter it was", isProof: false } as const;
  for (const from of ["a", "b"]) {
    cluster.inject({ from, to: "c", message: { kind: "hello-reply", startId: "an earlier one", refusal } });
  }
  cluster.settle();
  expect(cluster.node("c").fatal).toEqual([]);
});
