// A node whose stored state cannot be read: with others it takes theirs and says so; alone it says what to do.
import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Level } from "level";
import { describe, expect, test } from "vitest";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const KEYS = 200;
const DAMAGED = "data/k077";

type Damage = (store: string) => Promise<void>;

const flipIn = (name: RegExp): Damage => async (store) => {
  // Opening it moves what is in its log into a file of rows.
  await edit(store, async () => undefined);
  const files = (await readdir(store)).filter((found) => name.test(found));
  expect(files).not.toEqual([]);
  for (const file of files) {
    const bytes = await readFile(join(store, file));
    // Much of the file: a block that nobody needs would prove nothing.
    await writeFile(join(store, file), bytes.map((byte, at) => (at % 7 === 3 ? byte ^ 0x55 : byte)));
  }
};

const DAMAGES: readonly (readonly [name: string, damage: Damage])[] = [
  ["CURRENT is garbage", async (store) => writeFile(join(store, "CURRENT"), "MANIFEST-999999\n")],
  ["its manifest is garbage", flipIn(/^MANIFEST-/)],
  ["its rows are garbage", flipIn(/\.ldb$/)],
  ["it is gone, and the journal begins later", async (store) => rm(store, { recursive: true })],
];

describe("the stored state of one node of three", () => {
  test.each(DAMAGES)("is replaced by that of another one when %s", async (_name, damage) => {
    const fleet = await openCluster();
    await fleet.process("n3").stop("SIGTERM");
    await damage(join(fleet.dataDir("n3"), "kv"));
    await put(fleet, "n1", "data/meanwhile");
    const node = await fleet.launch("n3");
    await expectRepair(fleet, "n3");
    expect(node.logged("consensus.state_set_aside")).toMatchObject([{ reason: expect.any(String) }]);
    await expectEqual(fleet);
    // Once is enough.
    await node.stop("SIGTERM");
    await fleet.start("n3");
    expect(fleet.process("n3").logged("consensus.state_set_aside")).toEqual([]);
    await expectEqual(fleet);
  });

  test("is replaced at the next start when a row is found damaged while the node runs", async () => {
    const fleet = await openCluster();
    await fleet.process("n3").stop("SIGTERM");
    await damageRow(join(fleet.dataDir("n3"), "kv"));
    const node = await fleet.launch("n3");
    await node.ready();
    expect((await ask(`${fleet.api("n3")}/v1/kv/${DAMAGED}?consistency=local`)).body).toMatchObject({
      error: { code: "E_DATA_CORRUPT" },
    });
    expect(await node.waitForEnd()).toEqual({ code: 1, signal: null });
    expect(node.complaints).toEqual([expect.stringMatching(/^aether: E_DATA_CORRUPT: .*its next start takes the state/)]);
    await fleet.launch("n3");
    await expectRepair(fleet, "n3");
    expect(fleet.process("n3").logged("consensus.state_set_aside")).toHaveLength(1);
    await expectEqual(fleet);
  });

  test("is replaced at the next start when the blocks of its tables go while the node runs", async () => {
    const fleet = await openCluster();
    await fleet.process("n3").stop("SIGTERM");
    const store = join(fleet.dataDir("n3"), "kv");
    // Opening it moves what is in its log into a table.
    await edit(store, async () => undefined);
    const node = await fleet.launch("n3");
    await node.ready();
    for (const file of await readdir(store)) if (file.endsWith(".ldb")) await truncate(join(store, file));
    // ignored: the node is gone before it answers
    await ask(`${fleet.api("n3")}/v1/kv/${DAMAGED}?consistency=local`).catch(() => undefined);
    // LevelDB maps tables into memory: no code of ours is asked.
    expect(await node.waitForEnd()).toEqual({ code: null, signal: "SIGBUS" });
    await fleet.launch("n3");
    await expectRepair(fleet, "n3");
    expect(fleet.process("n3").logged("consensus.state_set_aside")).toHaveLength(1);
    await expectEqual(fleet);
  });

  test("is looked at when it is copied: a damaged row ends the node, and does not spread", async () => {
    const fleet = await openCluster();
    await fleet.process("n1").stop("SIGTERM");
    await damageRow(join(fleet.dataDir("n1"), "kv"));
    await fleet.start("n1");
    const backup = fleet.run(["cluster", "backup", join(fleet.directory, "backup"), "--api", fleet.api("n1")]);
    expect((await backup.waitForEnd()).code).not.toBe(0);
    expect(await fleet.process("n1").waitForEnd()).toEqual({ code: 1, signal: null });
    await fleet.launch("n1");
    await expectRepair(fleet, "n1");
    await expectEqual(fleet);
  });
});

test("a state that cannot be read is refused where no other voter has it", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"] });
  await fleet.startAll();
  await put(fleet, "n1", "data/only");
  await fleet.process("n1").stop("SIGTERM");
  await writeFile(join(fleet.dataDir("n1"), "kv", "CURRENT"), "garbage");
  for (let start = 0; start < 2; start++) {
    const node = await fleet.launch("n1");
    expect(await node.waitForEnd()).toEqual({ code: 1, signal: null });
    expect(node.complaints).toEqual([
      expect.stringMatching(/^aether: E_DATA_CORRUPT: .*no other voter has this state: restore a backup/),
    ]);
  }
  const stores = (await readdir(fleet.dataDir("n1"))).filter((name) => name.startsWith("kv"));
  expect(stores, "no empty states pile up").toHaveLength(2);
});

async function openCluster(): Promise<NodeFleet> {
  const fleet = await NodeFleet.open({ config: { consensus: { logSlotsKept: 64 } } });
  await fleet.startAll();
  for (let at = 0; at < KEYS; at++) await put(fleet, "n1", `data/k${String(at).padStart(3, "0")}`);
  return fleet;
}

async function put(fleet: NodeFleet, name: string, key: string): Promise<void> {
  const { status } = await ask(`${fleet.api(name)}/v1/kv/${key}`, { method: "PUT", body: `${key} ${"x".repeat(500)}` });
  expect(status).toBe(200);
}

/** It serves again; the others have a checkpoint to give after a while only. */
async function expectRepair(fleet: NodeFleet, name: string): Promise<void> {
  await eventually(`${name} is ready`, async () => {
    // ignored: it does not listen yet
    const answer = await ask(`${fleet.api(name)}/readyz`).catch(() => undefined);
    return answer?.status === 200 || undefined;
  }, 60_000);
}

async function expectEqual(fleet: NodeFleet): Promise<void> {
  const [first = "", ...others] = fleet.names;
  await put(fleet, first, "data/last");
  await eventually("all listings are equal", async () => {
    const expected = await listing(fleet, first);
    expect(expected).toMatchObject({ entries: { length: expect.any(Number) } });
    for (const name of others) expect(await listing(fleet, name)).toEqual(expected);
    return true;
  });
}

async function listing(fleet: NodeFleet, name: string): Promise<unknown> {
  return (await ask(`${fleet.api(name)}/v1/kv?prefix=data/&limit=1000&consistency=local`)).body;
}

/** One bit of the value of one row, behind the back of the node. */
async function damageRow(directory: string): Promise<void> {
  await edit(directory, async (store) => {
    const key = Buffer.from(DAMAGED);
    const value = Uint8Array.from((await store.get(key)) ?? []);
    value[value.length - 1] = (value.at(-1) ?? 0) ^ 1;
    await store.put(key, value);
  });
}

async function edit(directory: string, act: (store: Level<Uint8Array, Uint8Array>) => Promise<void>): Promise<void> {
  const store = new Level<Uint8Array, Uint8Array>(directory, { keyEncoding: "view", valueEncoding: "view" });
  await store.open();
  await act(store);
  await store.close();
}
