// A node whose state is not the others', though its log is: it stops when a majority contradicts it, and comes back
// with their state. While no state has a majority, nobody answers.
import { join } from "node:path";
import { Level } from "level";
import { expect, test } from "vitest";
import { CHECKPOINT_ROW, encodeCheckpoint, parseCheckpoint } from "../../src/kvstore/core/checkpoint.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { WriteLoad } from "./support/write-load.ts";

/** States are compared every 1,024 slots, and each write of the load takes a part of one. */
const LIMIT_MS = 120_000;

test("a node that a majority contradicts stops, and takes their state at its next start", async () => {
  const fleet = await openCluster();
  await fleet.process("n3").stop("SIGTERM");
  await diverge(join(fleet.dataDir("n3"), "kv"));
  await fleet.start("n3");
  const load = new WriteLoad(fleet, ["n1", "n2"]);
  load.start();
  await expectContradicted(fleet);
  await load.progress();
  await fleet.launch("n3");
  await ready(fleet, "n3");
  expect(fleet.process("n3").logged("consensus.state_set_aside")).toHaveLength(1);
  await load.progress();
  await load.stop();
  await load.expectOnEveryNode();
}, 3 * LIMIT_MS);

test("where two disagree and the third is away nobody answers; with the third the odd one stops", async () => {
  const fleet = await openCluster();
  for (const name of fleet.names) await fleet.process(name).stop("SIGTERM");
  await diverge(join(fleet.dataDir("n3"), "kv"));
  await fleet.start("n2", "n3");
  const load = new WriteLoad(fleet, ["n2"]);
  load.start();
  for (const name of ["n2", "n3"]) {
    await eventually(`${name} refuses`, () => expectDisputed(fleet, name), LIMIT_MS);
  }
  expect([fleet.process("n2").isRunning, fleet.process("n3").isRunning]).toEqual([true, true]);
  await fleet.start("n1");
  await expectContradicted(fleet);
  await load.progress();
  await fleet.launch("n3");
  await ready(fleet, "n3");
  await load.progress();
  await load.stop();
  await load.expectOnEveryNode();
}, 3 * LIMIT_MS);

async function openCluster(): Promise<NodeFleet> {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  expect((await ask(`${fleet.api("n1")}/v1/kv/data/first`, { method: "PUT", body: 1 })).status).toBe(200);
  await eventually("n3 has the first write", async () => {
    return (await ask(`${fleet.api("n3")}/v1/kv/data/first?consistency=local`)).status === 200 || undefined;
  });
  return fleet;
}

/** As if a change had been applied differently here: every hash from now on is another one. */
async function diverge(directory: string): Promise<void> {
  const store = new Level<Uint8Array, Uint8Array>(directory, { keyEncoding: "view", valueEncoding: "view" });
  await store.open();
  const record = parseCheckpoint((await store.get(CHECKPOINT_ROW)) ?? new Uint8Array());
  await store.put(CHECKPOINT_ROW, encodeCheckpoint({ ...record, stateHash: (record.stateHash ^ 1) >>> 0 }));
  await store.close();
}

async function expectContradicted(fleet: NodeFleet): Promise<void> {
  expect(await fleet.process("n3").waitForEnd(LIMIT_MS)).toEqual({ code: 1, signal: null });
  expect(fleet.process("n3").complaints).toEqual([
    expect.stringMatching(/^aether: E_DATA_CORRUPT: the state after slot \d+ has the hash .*its next start takes/),
  ]);
}

async function expectDisputed(fleet: NodeFleet, name: string): Promise<true> {
  const url = `${fleet.api(name)}/v1/kv/data/first`;
  const refused = { error: { code: "E_UNAVAILABLE", message: expect.stringMatching(/voters disagree/) } };
  expect((await ask(url, { method: "PUT", body: 2 })).body).toMatchObject(refused);
  expect((await ask(url)).body).toMatchObject(refused);
  expect(await ask(`${fleet.api(name)}/readyz`)).toMatchObject({ status: 503 });
  return true;
}

async function ready(fleet: NodeFleet, name: string): Promise<void> {
  await eventually(`${name} is ready`, async () => {
    // ignored: it does not listen yet
    const answer = await ask(`${fleet.api(name)}/readyz`).catch(() => undefined);
    return answer?.status === 200 || undefined;
  }, LIMIT_MS);
}
