// What changes while it is being carried out: plans of the leader, and work on instances whose rows go meanwhile.
import { afterEach, expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { createDeferred } from "../../src/base/deferred.ts";
import { AetherError } from "../../src/base/errors.ts";
import { MiB } from "../../src/base/units.ts";
import { storable } from "../../src/cluster/core/plain-value.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { Op, Txn } from "../../src/kvstore/core/schema.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";
import { heldKv } from "../support/interleaved-kv.ts";

const COUNT = 200;
const NO_ANSWER = new AetherError("E_TIMEOUT", "no answer in time");
const CURRENT = formatKey({ kind: "blueprint-current", name: "shop" });
let world: ClusterWorld;

function fleet(revision: number, config: unknown, count = COUNT) {
  return blueprintOf({ orders: sliceOf("orders", count, { heapBytesMax: 16 * MiB, config }) }, revision);
}

/** A world in which the blueprint changes as soon as the leader is about to make its fifth instance. */
async function openWithChange(change: () => Op): Promise<void> {
  let loads = 0;
  world = await ClusterWorld.open(["n1", "n2", "n3"], (_name, kv) => heldKv(kv, async (txn) => {
    if (!puts(txn, "LOAD") || ++loads !== 5) return;
    await kv.transact({ compare: [], then: [change()], else: [] });
  }));
}

function puts({ then }: Txn, state: string): boolean {
  return then.some(({ kind, ...op }) => kind === "put" && "value" in op && isIn(op.value, state));
}

function isIn(row: unknown, state: string): boolean {
  return typeof row === "object" && row !== null && "state" in row && row.state === state;
}

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

test("of a blueprint that is deleted half way no further instance is begun", async () => {
  await openWithChange(() => ({ kind: "delete", key: CURRENT }));
  await world.apply(fleet(1, {}));
  await world.until(() => world.mostRows > 0 && world.rows().length === 0, 5_000);
  expect(world.mostRows).toBe(4);
});

test("of a revision that is overtaken half way no further instance is begun", async () => {
  await openWithChange(() => ({ kind: "put", key: CURRENT, value: { revision: 2 } }));
  const count = 60;
  const second = fleet(2, { currency: "EUR" }, count);
  await world.write(formatKey({ kind: "blueprint", name: "shop", revision: 2 }), storable(second));
  await world.apply(fleet(1, {}, count));
  await world.until(() => world.active("orders").length === count && world.rows().length === count, 30_000);
  expect(new Set(world.instanceRows().map(({ revision }) => revision))).toEqual(new Set([2]));
  const steps = [...world.nodes.values()].flatMap(({ host }) => host.steps);
  expect(steps.filter((step) => step.startsWith("load ")).length).toBeLessThanOrEqual(count + 4);
});

test("a leader that dies while it places two hundred instances leaves its successor to place the rest", async () => {
  let loads = 0;
  const stuck = createDeferred<never>();
  world = await ClusterWorld.open(["n1", "n2", "n3"], (_name, kv) => heldKv(kv, async (txn) => {
    // The first leader waits for good for the answer to its fiftieth command.
    if (puts(txn, "LOAD") && ++loads === 50) await stuck.promise;
  }));
  await world.apply(fleet(1, {}));
  await world.until(() => loads === 50, 5_000);
  const killing = world.kill(present(world.leader(), "there is a leader"));
  stuck.reject(new AetherError("E_UNAVAILABLE", "its process has ended"));
  await killing;
  await world.until(() => world.active("orders").length === COUNT && world.rows().length === COUNT, 30_000);
  expect(new Set(world.endpoints()).size).toBe(2 * COUNT);
  const hosted = [...world.nodes.values()].flatMap(({ host }) => [...host.hosted().values()]);
  expect(hosted).toEqual(Array.from({ length: COUNT }, () => "active"));
});

test("a row that goes while its worker does not end is no fault of the node, which goes on trying", async () => {
  world = await ClusterWorld.open();
  await world.apply(blueprintOf({ orders: sliceOf("orders", 3) }));
  await world.until(() => world.active("orders").length === 3, 2_000);
  const { host } = world.node("n3");
  const key = present([...host.hosted().keys()][0], "n3 has an instance");
  host.script("unload", key, "hang");
  await world.remove("shop");
  await world.until(() => world.row("n3", "orders")?.state === "UNLOADING" && world.rows().length === 1, 2_000);
  world.cutOff("n3");
  await world.until(() => world.rows().length === 0, 10_000);
  await world.clock.advance(150_000);
  host.script("unload", key, undefined);
  await world.until(() => host.hosted().size === 0, 10_000);
});

test("an instance that its node did not know to serve yet is given up too when the node stops in order", async () => {
  let isHeld = false;
  world = await ClusterWorld.open(["n1", "n2", "n3"], (name, kv) => heldKv(kv, async (txn, { signal } = {}) => {
    if (name !== "n3" || !puts(txn, "ACTIVE")) return;
    // It is written, and the answer does not come.
    await kv.transact(txn);
    isHeld = true;
    await new Promise((_, reject) => signal?.addEventListener("abort", () => reject(NO_ANSWER)));
  }));
  await world.apply(blueprintOf({ orders: sliceOf("orders", 3) }));
  await world.until(() => isHeld && world.active("orders").length === 3, 2_000);
  await world.stop("n3");
  expect(world.row("n3", "orders")).toMatchObject({ state: "FAILED", attempt: 0 });
  expect(world.endpoints().filter((endpoint) => endpoint.startsWith("n3 "))).toEqual([]);
});
