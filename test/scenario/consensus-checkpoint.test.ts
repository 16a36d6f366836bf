// Checkpoints of the store against the journal of consensus: never ahead of it, never kept waiting by load.
import { expect, test } from "vitest";
import { encode } from "../../src/base/codec.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { KvState } from "../../src/kvstore/kv-state.ts";
import { DedupeTable } from "../../src/consensus/core/dedupe-table.ts";
import { LogState } from "../../src/consensus/core/log-state.ts";
import { Membership } from "../../src/consensus/core/membership.ts";
import { encodeMark } from "../../src/consensus/recovery.ts";
import type { CheckpointGate } from "../../src/consensus/state-machine.ts";
import { SILENT_LOG } from "../support/local-kv.ts";
import { portOf } from "../support/one-store.ts";
import { HandClock } from "./consensus-clock.ts";
import { HandCluster } from "./consensus-cluster.ts";
import { HandDisk } from "./consensus-disk.ts";

test("a checkpoint waits until the journal has every slot that it contains", async () => {
  const cluster = await HandCluster.formed(["a"]);
  cluster.put("a", "x");
  cluster.settle();
  const decisions: string[] = [];
  cluster.node("a").state.gate?.((decision) => decisions.push(decision));
  expect(decisions).toEqual([]);
  cluster.clock.settle();
  expect(decisions).toEqual([]);
  cluster.settle();
  expect(decisions).toEqual(["write"]);
});

test("a checkpoint is not kept waiting while one journal write follows the other without a pause", async () => {
  const cluster = await HandCluster.formed(["a"]);
  const { disk, state } = cluster.node("a");
  cluster.put("a", "x");
  cluster.round();
  const decisions: string[] = [];
  cluster.put("a", "y");
  state.gate?.((decision) => decisions.push(decision));
  for (let at = 0; at < 10 && decisions.length === 0; at++) {
    // More is always waiting when a write ends, and time passes only while one is under way.
    cluster.put("a", `z${at}`);
    cluster.clock.fireNext(cluster.clock.nowMs() + 2);
    disk.endWrites();
    cluster.clock.settle();
  }
  expect(decisions).toEqual(["write"]);
});

test("a checkpoint that waits is skipped when the group stops", async () => {
  const cluster = await HandCluster.formed(["a"]);
  cluster.put("a", "x");
  cluster.settle();
  const decisions: string[] = [];
  cluster.node("a").state.gate?.((decision) => decisions.push(decision));
  cluster.crash("a");
  expect(decisions).toEqual(["skip"]);
});

test("a store whose checkpoint was skipped closes in peace, and what it could not write is not written", async () => {
  const clock = new HandClock();
  const disk = new HandDisk();
  const generations = await KvGenerations.open(portOf(disk));
  const state = KvState.open({ generations, clock, log: SILENT_LOG, cluster: "story", onFatal: () => undefined });
  const waiting: Parameters<CheckpointGate>[0][] = [];
  state.gateCheckpoints((ready) => waiting.push(ready));
  state.endSlot(0, () => encodeMark(1, emptyLog()));
  const first = state.checkpoint();
  await Promise.resolve();
  state.endSlot(1, () => encodeMark(2, emptyLog()));
  for (const ready of waiting.splice(0)) ready("skip");
  state.gateCheckpoints((ready) => ready("skip"));
  await first;
  await state.close();
  expect(disk.writes).toBe(0);
});

test("a journal that ends before the state of the store is refused: one of the two is from another time", async () => {
  const cluster = new HandCluster(["a"]);
  await cluster.start("a");
  cluster.pass(1_000);
  cluster.crash("a");
  cluster.nextMark = encodeMark(10, emptyLog());
  await expect(cluster.start("a")).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
  cluster.wipe("a");
  await expect(cluster.start("a")).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
});

test("a state with a mark of a newer format is refused by name", async () => {
  const cluster = new HandCluster(["a"]);
  cluster.nextMark = encode([99, 0, []]);
  await expect(cluster.start("a")).rejects.toMatchObject({ code: "E_VERSION" });
});

function emptyLog(): LogState {
  return new LogState(new DedupeTable(), Membership.unformed([], 16));
}
