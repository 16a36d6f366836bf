import { describe, expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { present } from "../../../../src/base/assert.ts";
import type { AppendLog } from "../../../../src/env/append-log.ts";
import type { OrderedStore, StoreOp, StorePort } from "../../../../src/env/store.ts";
import { createOrderedLogPort } from "../../../../src/storage/ordered-append-log.ts";
import { Machine } from "../../../../src/testkit/sim/machine.ts";
import { createSimLogPort } from "../../../../src/testkit/sim/sim-log-files.ts";
import { SimNetwork } from "../../../../src/testkit/sim/sim-network.ts";
import { settleMicrotasks } from "../../../../src/testkit/sim/turn-adapter.ts";
import { World } from "../../../../src/testkit/sim/world.ts";
import { testAppendLog } from "../../../compliance/append-log/append-log-suite.ts";
import { testOrderedStore } from "../../../compliance/store/ordered-store-suite.ts";

testOrderedStore("the simulator", openSimulated);

testAppendLog("rows of the simulator", async () => {
  const { port, settle } = await openSimulated();
  return { port: createOrderedLogPort(port), settle };
});

testAppendLog("the journal of the simulator", async () => {
  const { port, settle } = await openSimulated();
  const ports = { stores: port, clock: { defer: setImmediate }, settleSoon: () => undefined };
  return { port: createSimLogPort(ports), settle };
});

async function openSimulated(): Promise<{ readonly port: StorePort; settle<T>(promise: Promise<T>): Promise<T> }> {
  const world = new World(1);
  let port: StorePort | undefined;
  const machine = new Machine(world, new SimNetwork(world), parseNodeId("n1"), (env) => {
    port = env.store;
    return Promise.resolve();
  });
  machine.boot();
  await world.run(() => port !== undefined, 1);
  return {
    port: present(port, "the machine is up"),
    settle: async <T>(promise: Promise<T>): Promise<T> => {
      let isSettled = false;
      const note = (): void => {
        isSettled = true;
      };
      void promise.then(note, note);
      while (!isSettled) {
        await settleMicrotasks();
        // Shorter than any fsync: what waits for one write goes on before the next one ends.
        await world.run(() => false, world.nowMs + 0.05);
      }
      return promise;
    },
  };
}

describe("a crash of a simulated machine", () => {
  test("keeps some of the oldest writes under way and loses the others", async () => {
    const survivors = new Set<number>();
    for (let seed = 1; seed <= 40; seed += 1) survivors.add(await countSurvivors(seed));
    expect([...survivors].sort((a, b) => a - b)).toEqual([0, 1, 2, 3]);
  });

  test("never runs a callback of the dead process", async () => {
    const world = new World(3);
    const { machine, stores } = createMachine(world);
    machine.boot();
    await world.run(() => stores.length === 1, 10);
    let isCalled = false;
    present(stores[0], "open").write([put(1)], () => {
      isCalled = true;
    });
    machine.crash();
    await world.run(() => false, 1_000);
    expect(isCalled).toBe(false);
  });
});

test("a crash tears the last record of a simulated journal at times, and a start leaves it out", async () => {
  let torn = 0;
  for (let seed = 1; seed <= 60; seed += 1) torn += await countTorn(seed);
  expect(torn).toBeGreaterThan(5);
});

/** 1 when the crash left a part of a record on the disk. */
async function countTorn(seed: number): Promise<number> {
  const world = new World(seed);
  const logs: AppendLog[] = [];
  const machine = new Machine(world, new SimNetwork(world), parseNodeId("n1"), async (env) => {
    logs.push(await env.logs.open("wal"));
  });
  machine.boot();
  await world.run(() => logs.length === 1, 500);
  const records = [1, 2, 3].map((number) => Buffer.alloc(2_000, number));
  for (const record of records) logs[0]?.append(record, () => undefined);
  machine.crash();
  const rows = machine.copyDisks().get("wal")?.size ?? 0;
  machine.boot();
  await world.run(() => logs.length === 2, 1_000);
  const log = present(logs[1], "the second life opened its journal");
  for (const [index, record] of records.slice(0, log.last).entries()) {
    expect(Buffer.from(present(log.readSync(index + 1), "a record that is whole")).equals(record)).toBe(true);
  }
  let isWritten = false;
  log.append(Buffer.from("next"), () => {
    isWritten = true;
  });
  expect(await world.run(() => isWritten, 2_000)).toBe(true);
  // The file itself and its head are rows, too; one record was written since.
  return rows - 2 - (log.last - 1);
}

async function countSurvivors(seed: number): Promise<number> {
  const world = new World(seed);
  const { machine, stores } = createMachine(world);
  machine.boot();
  await world.run(() => stores.length === 1, 10);
  const before = present(stores[0], "the first life opened its store");
  for (const key of [1, 2, 3]) before.write([put(key)], () => undefined);
  machine.crash();
  machine.boot();
  await world.run(() => stores.length === 2, 20);
  const after = present(stores[1], "the second life opened its store");
  const found = [1, 2, 3].filter((key) => after.getSync(Uint8Array.of(key)) !== undefined);
  expect(found).toEqual([1, 2, 3].slice(0, found.length));
  return found.length;
}

function createMachine(world: World): { machine: Machine; stores: OrderedStore[] } {
  const stores: OrderedStore[] = [];
  const machine = new Machine(world, new SimNetwork(world), parseNodeId("n1"), async (env) => {
    stores.push(await env.store.open("kv"));
  });
  return { machine, stores };
}

function put(key: number): StoreOp {
  return { kind: "put", key: Uint8Array.of(key), value: Uint8Array.of(key) };
}
