// What a node finds in its data directory after an accident: lost, old, foreign or damaged data is refused with the
// reason, never served; the others go on.
import { cp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Level } from "level";
import { describe, expect, test } from "vitest";
import { type AetherProcess, ask, NodeFleet } from "../support/node-fleet.ts";

const KEYS = 30;

describe("a node of three whose directory is not what it was", () => {
  test("is refused with an empty one; the others go on, also after it tried again", async () => {
    const fleet = await openCluster();
    await fleet.kill("n2");
    await rename(fleet.dataDir("n2"), `${fleet.dataDir("n2")}-kept`);
    await expectRefusal(await fleet.launch("n2"), /^aether: E_DATA_LOST: /);
    await expectServing(fleet, "n1", "n3");
    await expectRefusal(await fleet.launch("n2"), /^aether: E_DATA_LOST: /);
    await expectServing(fleet, "n1", "n3");
    // The right directory is welcome again.
    await rm(fleet.dataDir("n2"), { recursive: true });
    await rename(`${fleet.dataDir("n2")}-kept`, fleet.dataDir("n2"));
    await fleet.start("n2");
    await expectServing(fleet, "n1", "n2", "n3");
  });

  test("is refused with an older copy of its own", async () => {
    const fleet = await openCluster();
    await fleet.process("n2").stop("SIGTERM");
    await cp(fleet.dataDir("n2"), `${fleet.dataDir("n2")}-old`, { recursive: true });
    await fleet.start("n2");
    await write(fleet, "n2", "newer");
    await fleet.kill("n2");
    await rename(fleet.dataDir("n2"), `${fleet.dataDir("n2")}-kept`);
    await rename(`${fleet.dataDir("n2")}-old`, fleet.dataDir("n2"));
    await expectRefusal(await fleet.launch("n2"), /^aether: E_DATA_LOST: /);
    await expectServing(fleet, "n1", "n3");
  });

  test("is refused with a peer's, and with that of a node of the same name in another cluster", async () => {
    const fleet = await openCluster();
    await fleet.kill("n2", "n3");
    await rename(fleet.dataDir("n2"), `${fleet.dataDir("n2")}-kept`);
    await cp(fleet.dataDir("n3"), fleet.dataDir("n2"), { recursive: true });
    await expectRefusal(await fleet.launch("n2"), /^aether: E_DATA_FOREIGN: .*belongs to node n3/);
    await fleet.start("n3");
    const other = await openCluster();
    // While it runs, its n2 belongs there, wherever it is started.
    await other.kill("n1", "n2", "n3");
    await rm(fleet.dataDir("n2"), { recursive: true });
    await cp(other.dataDir("n2"), fleet.dataDir("n2"), { recursive: true });
    await expectRefusal(await fleet.launch("n2"), /^aether: E_DATA_FOREIGN: /);
    await expectServing(fleet, "n1", "n3");
  });
});

describe("a damaged directory of a single node", () => {
  test("a journal without one of its records is refused", async () => {
    const fleet = await openSingle();
    // Records begin on sectors of 512 bytes; the first is the head of the file.
    await editJournal(fleet, (bytes) => Buffer.concat([bytes.subarray(0, 5 * 512), bytes.subarray(6 * 512)]));
    await expectRefusal(await fleet.launch("n1"), /^aether: E_DATA_CORRUPT: the journal is damaged/);
  });

  test.each([1, 9, 30])("a journal with one bit changed in its sector %i is refused", async (sector) => {
    const fleet = await openSingle();
    await editJournal(fleet, (bytes) => {
      const at = sector * 512 + 40;
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      return bytes;
    });
    await expectRefusal(await fleet.launch("n1"), /^aether: E_DATA_CORRUPT: the journal is damaged/);
  });

  test("a store without its journal is refused", async () => {
    const fleet = await openSingle();
    await rm(join(fleet.dataDir("n1"), "journal"), { recursive: true });
    await expectRefusal(await fleet.launch("n1"), /^aether: E_DATA_CORRUPT: .*no journal/);
  });

  test("a journal that is older than the store is refused", async () => {
    const fleet = await openSingle();
    await cp(join(fleet.dataDir("n1"), "journal"), join(fleet.directory, "journal"), { recursive: true });
    await fleet.start("n1");
    await write(fleet, "n1", "newer");
    await fleet.process("n1").stop("SIGTERM");
    await rm(join(fleet.dataDir("n1"), "journal"), { recursive: true });
    await rename(join(fleet.directory, "journal"), join(fleet.dataDir("n1"), "journal"));
    await expectRefusal(await fleet.launch("n1"), /^aether: E_DATA_CORRUPT: .*journal ends at/);
  });

  test("a missing store is rebuilt from the journal", async () => {
    const fleet = await openSingle();
    await rm(join(fleet.dataDir("n1"), "kv"), { recursive: true });
    await fleet.start("n1");
    await expectKeys(fleet, "n1", "first");
  });

  test("an older store is brought up to date from the journal", async () => {
    const fleet = await openSingle();
    await cp(join(fleet.dataDir("n1"), "kv"), join(fleet.directory, "kv"), { recursive: true });
    await fleet.start("n1");
    await write(fleet, "n1", "newer");
    await fleet.process("n1").stop("SIGTERM");
    await rm(join(fleet.dataDir("n1"), "kv"), { recursive: true });
    await rename(join(fleet.directory, "kv"), join(fleet.dataDir("n1"), "kv"));
    await fleet.start("n1");
    await expectKeys(fleet, "n1", "first");
    await expectKeys(fleet, "n1", "newer");
  });

  test("a store with one of its entries changed is not served", async () => {
    const fleet = await openSingle();
    const store = new Level<Uint8Array, Uint8Array>(join(fleet.dataDir("n1"), "kv"), {
      keyEncoding: "view", valueEncoding: "view",
    });
    await store.open();
    for (const [key, value] of await store.iterator().all()) {
      if (!Buffer.from(key).includes("first-07")) continue;
      const damaged = Uint8Array.from(value);
      damaged[damaged.length - 1] = (damaged[damaged.length - 1] ?? 0) ^ 1;
      await store.put(key, damaged);
    }
    await store.close();
    const node = await fleet.launch("n1");
    const served = await Promise.race([node.ended.then(() => "refused"), node.ready().then(() => "served")]);
    if (served === "refused") return expectRefusal(node, /^aether: E_DATA_CORRUPT: /);
    const read = await ask(`${fleet.api("n1")}/v1/kv/data/first-07`);
    expect(read.body).toMatchObject({ error: { code: "E_DATA_CORRUPT" } });
  });
});

/** Three nodes with some keys, all running. */
async function openCluster(): Promise<NodeFleet> {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  await write(fleet, "n1", "first");
  return fleet;
}

/** One node with some keys, stopped in order. */
async function openSingle(): Promise<NodeFleet> {
  const fleet = await NodeFleet.open({ names: ["n1"] });
  await fleet.startAll();
  await write(fleet, "n1", "first");
  await fleet.process("n1").stop("SIGTERM");
  return fleet;
}

async function write(fleet: NodeFleet, name: string, word: string): Promise<void> {
  for (const key of keysOf(word)) {
    const body = `${key} ${"x".repeat(200)}`;
    const { status } = await ask(`${fleet.api(name)}/v1/kv/${key}`, { method: "PUT", body });
    expect(status).toBe(200);
  }
}

async function expectKeys(fleet: NodeFleet, name: string, word: string): Promise<void> {
  for (const key of keysOf(word)) {
    const { body } = await ask(`${fleet.api(name)}/v1/kv/${key}?consistency=local`);
    expect(body).toMatchObject({ value: `${key} ${"x".repeat(200)}` });
  }
}

function keysOf(word: string): readonly string[] {
  return Array.from({ length: KEYS }, (_, at) => `data/${word}-${String(at).padStart(2, "0")}`);
}

async function expectServing(fleet: NodeFleet, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const { status } = await ask(`${fleet.api(name)}/v1/kv/data/serving`, { method: "PUT", body: name });
    expect(status).toBe(200);
    await expectKeys(fleet, name, "first");
  }
}

/** It ends by itself, not ready, with exit code 1 and one line that says why. */
async function expectRefusal(node: AetherProcess, says: RegExp): Promise<void> {
  const end = await node.waitForEnd();
  expect(node.complaints, node.transcript()).toHaveLength(1);
  expect(node.complaints[0]).toMatch(says);
  expect(end).toEqual({ code: 1, signal: null });
  expect(node.stdout).toEqual([]);
}

async function editJournal(fleet: NodeFleet, edit: (bytes: Buffer) => Buffer): Promise<void> {
  const file = join(fleet.dataDir("n1"), "journal", "0000000001.seg");
  await writeFile(file, edit(await readFile(file)));
}
