// Real services of three nodes over one real store: nodes die, stop, restart and come back.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { encode } from "../../src/base/codec.ts";
import { AetherError } from "../../src/base/errors.ts";
import { parseArtifactId, parseNodeId } from "../../src/base/ids.ts";
import { formatKey, prefixOf } from "../../src/kvstore/core/key.ts";
import { VALUE_BYTES_MAX } from "../../src/kvstore/core/limits.ts";
import { parseInstanceRow } from "../../src/slices/core/instance-row.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";
import { heldKv } from "../support/interleaved-kv.ts";
import { writeLaterKey } from "../support/later-key.ts";

const SLICES = ["inventory", "orders", "pricing"];
const SHOP = blueprintOf(Object.fromEntries(SLICES.map((name) => [name, sliceOf(name, 2)])));
let world: ClusterWorld;

function isWhole(): boolean {
  return SLICES.every((slice) => world.active(slice).length === 2) && world.rows().length === 6;
}

function isWholeWithout(node: string): boolean {
  return isWhole() && world.rows().every((row) => !row.startsWith(`${node} `));
}

/** Each active row is served by a worker of its node, and each worker has its row. */
function expectRowsAndWorkersAgree(): void {
  const workers = [...world.nodes].flatMap(([name, { host }]) =>
    [...host.hosted()].map(([key, state]) => `${name} ${key.replace(/.*:(.*):.*\//, "$1/")} ${state.toUpperCase()}`),
  );
  expect(workers.sort()).toEqual(world.rows());
}

beforeEach(async () => {
  world = await ClusterWorld.open();
  await world.apply(SHOP);
  await world.until(isWhole, 3_000);
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

test.each(["n1", "n2", "n3"])("instances of %s are up elsewhere ten seconds after its death", async (victim) => {
  const others = world.rows().filter((row) => !row.startsWith(`${victim} `));
  expect(world.leader()).toBe("n1");
  await world.kill(victim);
  expect(await world.until(() => isWholeWithout(victim), 10_000)).toBeGreaterThan(4_500);
  expect(world.rows()).toEqual(expect.arrayContaining(others));
  expect(world.dutyOf("gone")).toEqual([victim]);
  expect(world.endpoints()).toHaveLength(12);
  expectRowsAndWorkersAgree();
});

test("an instance that ends node after node keeps its attempts, and waits longer before each next node", async () => {
  await world.close();
  const names = ["n1", "n2", "n3", "n4", "n5", "n6", "n7"];
  world = await ClusterWorld.open(names);
  const killer = "demo:orders:1.0.0/0";
  for (const { host } of world.nodes.values()) host.script("load", killer, "hang");
  await world.apply(blueprintOf({ orders: sliceOf("orders", 1) }));
  const attempts: unknown[] = [];
  for (let count = 0; count < 3; count++) {
    const found = (): string | undefined => names.find((name) => world.row(name, "orders")?.state === "LOADING");
    await world.until(() => found() !== undefined && world.rows().length === 1, 60_000);
    const victim = present(found(), "it comes up on some node");
    attempts.push(world.row(victim, "orders")?.attempt);
    await world.kill(victim);
    await world.until(() => world.row(victim, "orders") === undefined || world.dutyOf("gone").includes(victim), 20_000);
  }
  expect(attempts).toEqual([1, 2, 3]);
  await world.until(() => names.some((name) => world.row(name, "orders")?.attempt === 4), 60_000);
  expect(world.rows()).toHaveLength(1);
});

test("endpoints of a dead node are skipped before their rows are gone", async () => {
  await world.kill("n3");
  await world.clock.advance(50);
  expect(world.rows().some((row) => row.startsWith("n3 "))).toBe(true);
  for (const slice of SLICES) {
    const { registry } = world.node("n1").services;
    const found = registry.find(slice, "show").all.endpoints.filter(({ node }) => registry.isServing(node));
    expect(found.map(({ node }) => node)).not.toContain("n3");
    expect(found.length).toBeGreaterThan(0);
  }
});

test("when the leader dies in the middle of its work another one finishes it", async () => {
  const larger = blueprintOf({ ...SHOP.slices, orders: sliceOf("orders", 6) }, 2);
  await world.apply(larger);
  await world.kill("n1");
  await world.until(() => world.active("orders").length === 6 && world.rows().length === 10, 12_000);
  expect(world.leader()).toBe("n2");
  expectRowsAndWorkersAgree();
});

test("a node that returns after it was gone brings no double and gets no instance back", async () => {
  await world.kill("n2");
  await world.until(() => isWholeWithout("n2"), 10_000);
  const before = world.rows();
  const { host, services } = world.start("n2");
  await world.until(() => world.dutyOf("on-duty").length === 3, 3_000);
  await world.clock.advance(20_000);
  expect(world.rows()).toEqual(before);
  expect(host.hosted().size).toBe(0);
  expect(services.registry.find("orders", "show").all.endpoints).toHaveLength(2);
  expectRowsAndWorkersAgree();
});

test("a node that restarts before it is gone gets its instances back at once and nothing moves", async () => {
  const before = world.rows();
  await world.kill("n2");
  await world.clock.advance(2_000);
  world.start("n2");
  await world.clock.settle();
  expect(await world.until(isWhole, 3_000)).toBeLessThan(1_500);
  expect(world.rows()).toEqual(before);
  expect(world.node("n2").host.steps.length).toBeGreaterThan(0);
  expectRowsAndWorkersAgree();
});

test("a node restarts beside rows of kinds that only a later build knows", async () => {
  const place = { node: parseNodeId("n2"), artifact: parseArtifactId("demo:orders:1.0.0"), instance: 7 };
  writeLaterKey(world.local, { kind: "slice", ...place });
  writeLaterKey(world.local, { kind: "endpoint", slice: "orders", method: "show", ...place });
  await world.kill("n2");
  world.start("n2");
  await world.until(() => world.dutyOf("on-duty").length === 3 && isWhole(), 8_000);
  expectRowsAndWorkersAgree();
});

test("a rolling restart of all nodes moves and loses nothing", async () => {
  const before = world.rows();
  for (const name of ["n1", "n2", "n3"]) {
    await world.stop(name);
    expect(world.endpoints().some((endpoint) => endpoint.startsWith(`${name} `))).toBe(false);
    // With two instances of each slice on different nodes one goes on serving.
    for (const slice of SLICES) expect(world.active(slice).length).toBeGreaterThan(0);
    await world.clock.advance(2_000);
    world.start(name);
    await world.until(isWhole, 8_000);
  }
  expect(world.rows()).toEqual(before);
  expectRowsAndWorkersAgree();
});

test("a restart of all nodes at once moves nothing, however late the last one is within the grace", async () => {
  const before = world.rows();
  for (const name of ["n1", "n2", "n3"]) await world.kill(name);
  world.start("n1");
  world.start("n2");
  await world.clock.advance(20_000);
  world.start("n3");
  await world.until(isWhole, 8_000);
  expect(world.rows()).toEqual(before);
  expectRowsAndWorkersAgree();
});

test("a node declared gone because it could not be heard unloads what moved and returns to duty", async () => {
  const key = present([...world.node("n3").host.hosted().keys()][0], "n3 hosts something");
  world.cutOff("n3");
  await world.until(() => isWholeWithout("n3"), 10_000);
  // Its store still works here, so it sees the verdict: what lost its row ends.
  await world.until(() => world.node("n3").host.hosted().size === 0, 2_000);
  expect(world.node("n3").host.steps).toContain(`unload ${key}`);
  world.rejoin("n3");
  await world.until(() => world.dutyOf("on-duty").length === 3, 3_000);
  expectRowsAndWorkersAgree();
});

test("the view of the members says who is on duty, suspected and gone", async () => {
  const statusOf = (name: string): string | undefined =>
    world.node("n1").services.membership.nodes.find(({ node }) => node === parseNodeId(name))?.status;
  expect(["n1", "n2", "n3"].map(statusOf)).toEqual(["on-duty", "on-duty", "on-duty"]);
  await world.kill("n3");
  await world.clock.settle();
  expect(statusOf("n3")).toBe("suspected");
  await world.until(() => statusOf("n3") === "gone", 10_000);
});

test("a new leader fences the old one: its late write changes nothing (C12)", async () => {
  const late = present(world.node("n1").services.leadership.fence(), "n1 leads");
  await world.kill("n1");
  await world.until(() => world.leader() === "n2", 6_000);
  const key = late.key;
  const write = world.local.kv.transact({ compare: [late], then: [{ kind: "get", key }], else: [] });
  const result = await world.settled(write);
  expect(result.succeeded).toBe(false);
  expect(world.node("n3").services.leadership.current()).toMatchObject({ node: "n2", epoch: 2 });
  expect(world.node("n3").services.leadership.fence()).toBeUndefined();
});

const OUTAGES = ["deciding again", "no quorum in between"];

test.each(OUTAGES)("answers that never came leave no double and no loss: %s", async (end) => {
  const larger = blueprintOf({ ...SHOP.slices, orders: sliceOf("orders", 5) }, 2);
  await world.apply(larger);
  for (let outage = 0; outage < 6; outage++) {
    await world.clock.advance(10 + outage * 7);
    world.local.group.setMode("silent");
    await world.clock.advance(outage % 2 === 0 ? 300 : 7_000);
    if (end !== "deciding again") world.local.group.setMode("no-quorum");
    await world.clock.advance(500);
    world.local.group.setMode("deciding");
  }
  await world.until(() => world.active("orders").length === 5 && world.rows().length === 9, 20_000);
  await world.clock.advance(11_000);
  expectRowsAndWorkersAgree();
  expect(world.endpoints()).toHaveLength(18);
});

test("an instance whose methods cannot be written as endpoints fails alone, for good, with the reason", async () => {
  for (const { host } of world.nodes.values()) {
    host.methods = [{ method: "m".repeat(600), effect: "read", timeoutMs: 1_000 }];
  }
  await world.apply(blueprintOf({ wide: sliceOf("wide", 1) }, 1, "extra"));
  await world.until(() => world.rows().some((row) => row.endsWith("wide/0 FAILED")), 5_000);
  await world.clock.advance(20_000);
  const failed = ["n1", "n2", "n3"].map((node) => world.row(node, "wide")).find((row) => row !== undefined);
  expect(failed).toMatchObject({ state: "FAILED", attempt: 1, error: { fatal: true } });
  expect(SLICES.flatMap((slice) => world.active(slice))).toHaveLength(6);
});

test("an instance that the store cannot hold hinders neither the others nor the leader", async () => {
  await world.close();
  world = await ClusterWorld.open(undefined, (_name, kv) => ({
    get: (key, options) => kv.get(key, options),
    list: (query, options) => kv.list(query, options),
    watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
    transact: (txn, options) => {
      const isHuge = txn.then.some((op) => op.kind === "put" && op.key.includes(":huge:"));
      if (isHuge) return Promise.reject(new AetherError("E_TOO_LARGE", "the row is too large"));
      return kv.transact(txn, options);
    },
    get revision() {
      return kv.revision;
    },
    get oldestRevision() {
      return kv.oldestRevision;
    },
  }));
  await world.apply(blueprintOf({ huge: sliceOf("huge", 1) }, 1, "big"));
  await world.apply(blueprintOf({ small: sliceOf("small", 1) }, 1, "late"));
  await world.until(() => world.active("small").length === 1, 5_000);
  await world.clock.advance(20_000);
  expect(world.rows().some((row) => row.includes(" huge/"))).toBe(false);
  expect(world.leader()).toBe("n1");
});

test("an instance that the store cannot hold fails once the store can say so, and its node goes on", async () => {
  await world.close();
  let refusals = 3;
  world = await ClusterWorld.open(undefined, (_name, kv) => heldKv(kv, async ({ then }) => {
    const [op] = then;
    if (op?.kind !== "put" || !op.key.includes(":huge:")) return;
    const { state } = parseInstanceRow(op.value);
    if (state === "LOADED") throw new AetherError("E_TOO_LARGE", "the row is too large");
    if (state === "FAILED" && refusals-- > 0) throw new AetherError("E_NO_QUORUM", "nobody is there");
  }));
  await world.apply(blueprintOf({ huge: sliceOf("huge", 1) }, 1, "big"));
  await world.until(() => world.rows().some((row) => row.endsWith(" huge/0 FAILED")), 10_000);
  expect(refusals).toBeLessThan(0);
});

test("a config as large as a value may be is in the blueprint, and not in the rows of its instances", async () => {
  const hugeOf = (config: string) => blueprintOf({ huge: sliceOf("huge", 3, { config }) }, 1, "big");
  const aroundBytes = encode(hugeOf("")).byteLength + 4;
  await world.apply(hugeOf("c".repeat(VALUE_BYTES_MAX - aroundBytes)));
  await world.until(() => world.active("huge").length === 3, 5_000);
  const { entries } = await world.settled(world.local.kv.list({ prefix: prefixOf({ kind: "slices" }) }));
  for (const { value } of entries) expect(encode(value).byteLength).toBeLessThan(500);
});

describe("a blueprint that cannot be read", () => {
  const revision = formatKey({ kind: "blueprint", name: "shop", revision: 1 });
  const current = formatKey({ kind: "blueprint-current", name: "shop" });
  const damages: readonly [string, () => Promise<unknown>][] = [
    ["its revision is damaged", () => world.write(revision, { ...SHOP, slices: { orders: 7 } })],
    ["its revision is of a later build", () =>
      world.write(revision, { ...SHOP, slices: { orders: { kind: "lambda" } } })],
    ["its revision is missing", () =>
      world.settled(world.local.kv.transact({ compare: [], then: [{ kind: "delete", key: revision }], else: [] }))],
    ["what points to it is damaged", () => world.write(current, { revision: "one" })],
  ];

  test.each(damages)("stops nothing, holds up nobody, and goes on when it can be read: %s", async (_what, damage) => {
    const before = world.rows();
    await damage();
    await world.clock.advance(25_000);
    expect(world.rows()).toEqual(before);
    await world.apply(blueprintOf({ other: sliceOf("other", 1) }, 1, "extra"));
    await world.until(() => world.active("other").length === 1, 3_000);
    await world.remove("extra");
    await world.until(() => world.rows().length === before.length, 3_000);
    // A death is noted, and made good once it is known what is wanted.
    await world.kill("n3");
    await world.until(() => world.rows().every((row) => !row.startsWith("n3 ")), 10_000);
    await world.clock.advance(15_000);
    expect(world.rows()).toEqual(before.filter((row) => !row.startsWith("n3 ")));
    await world.apply(SHOP);
    await world.until(isWhole, 3_000);
  });

  test.each(damages)("ends when it is deleted, and nothing else does: %s", async (_what, damage) => {
    await world.apply(blueprintOf({ other: sliceOf("other", 1) }, 1, "extra"));
    await world.until(() => world.active("other").length === 1, 3_000);
    const others = world.rows().filter((row) => row.includes(" other/"));
    await damage();
    await world.remove("shop");
    await world.until(() => world.rows().length === others.length, 5_000);
    expect(world.rows()).toEqual(others);
    expectRowsAndWorkersAgree();
  });
});

describe("a row of an instance that cannot be read", () => {
  const keyOf = (node: string) => {
    const artifact = parseArtifactId("demo:orders:1.0.0");
    const row = present(world.rows().find((text) => text.startsWith(`${node} orders/`)), "the node has an instance");
    const instance = Number(row.split("/")[1]?.split(" ")[0]);
    const key = formatKey({ kind: "slice", node: parseNodeId(node), artifact, instance });
    return { key, worker: `${artifact}/${instance}` };
  };

  test("is left alone, its worker too, and hinders nobody", async () => {
    const [node = ""] = present(world.rows().find((row) => row.includes(" orders/")), "orders runs").split(" ");
    const { key, worker } = keyOf(node);
    await world.write(key, { state: "SLEEPING" });
    await world.apply(blueprintOf({ other: sliceOf("other", 3) }, 1, "extra"));
    await world.until(() => world.active("other").length === 3, 3_000);
    await world.clock.advance(25_000);
    expect(world.node(node).host.hosted().get(worker)).toBe("active");
    expect(world.active("orders")).toHaveLength(1);
    // Its node finds the row when it has something to write, and goes on too.
    world.node(node).host.crash(worker);
    await world.clock.advance(25_000);
    expect(world.active("orders")).toHaveLength(1);
    expect(world.active("other")).toHaveLength(3);
    expect(world.leader()).toBe("n1");
  });

  test("goes with its node, and the instance is placed elsewhere", async () => {
    const node = present(world.rows().filter((row) => row.includes(" orders/"))[1], "orders runs twice").slice(0, 2);
    await world.write(keyOf(node).key, { state: "SLEEPING" });
    await world.kill(node);
    await world.until(() => isWholeWithout(node), 10_000);
    world.start(node);
    await world.until(() => world.dutyOf("on-duty").length === 3, 3_000);
    await world.clock.advance(11_000);
    expect(isWholeWithout(node)).toBe(true);
    expectRowsAndWorkersAgree();
  });
});

describe("the row of the leader that cannot be read", () => {
  const leader = formatKey({ kind: "leader" });
  const beat = formatKey({ kind: "leader-beat" });

  test.each([
    ["the leader's", [leader]],
    ["its beat", [beat]],
    ["both", [beat, leader]],
  ] as const)("is written anew, nothing moves and the leader's work goes on: %s", async (_what, keys) => {
    const before = world.rows();
    for (const key of keys) await world.write(key, { epoch: "one" });
    await world.until(() => world.leader() !== undefined, 4_000);
    await world.apply(blueprintOf({ other: sliceOf("other", 2) }, 1, "extra"));
    await world.until(() => world.active("other").length === 2, 5_000);
    expect(world.rows().filter((row) => !row.includes(" other/"))).toEqual(before);
    // Those that remember an earlier epoch, and one that does not, follow the same leader.
    await world.stop("n3");
    world.start("n3");
    await world.until(() => world.dutyOf("on-duty").length === 3, 3_000);
    const leaders = [...world.nodes.values()].map(({ services }) => services.leadership.current()?.node);
    expect(new Set(leaders)).toEqual(new Set([world.leader()]));
  });

  test("lets a survivor take over when its holder is gone with it", async () => {
    await world.write(leader, 7);
    await world.kill("n1");
    await world.until(() => world.leader() !== undefined, 4_000);
    await world.until(() => isWholeWithout("n1"), 10_000);
  });
});

test.each(["n1", "n3"])("the damaged row of node %s is written anew by that node, and nothing moves", async (name) => {
  const before = world.rows();
  const key = formatKey({ kind: "node-state", node: parseNodeId(name) });
  await world.write(key, { state: "sleeping" });
  await world.until(() => world.dutyOf("on-duty").length === 3, 2_000);
  await world.clock.advance(11_000);
  expect(world.rows()).toEqual(before);
});

test("a new version of what a slice uses restarts none of its instances", async () => {
  const uses = (version: string) => ({
    uses: { pricing: { slice: "pricing", artifact: parseArtifactId(`demo:pricing:${version}`) } },
  });
  const before = world.rows().filter((row) => row.includes(" orders/"));
  const pricing = sliceOf("pricing", 2, { artifact: parseArtifactId("demo:pricing:1.1.0") });
  await world.apply(blueprintOf({ ...SHOP.slices, orders: sliceOf("orders", 2, uses("1.1.0")), pricing }, 2));
  const isNew = (): boolean => world.artifacts("pricing").every((artifact) => artifact === "demo:pricing:1.1.0");
  await world.until(() => isNew() && isWhole(), 5_000);
  expect(world.rows().filter((row) => row.includes(" orders/"))).toEqual(before);
  const steps = [...world.nodes.values()].flatMap(({ host }) => host.steps);
  expect(steps.filter((step) => step.startsWith("load demo:orders"))).toHaveLength(2);
});

test("an instance during whose start its node crashes waits longer each time, one that had served not", async () => {
  await world.clock.advance(61_000);
  const key = present([...world.node("n2").host.hosted().keys()][0], "n2 hosts something");
  const slice = key.split(":")[1] ?? "";
  const isState = (state: string) => (): boolean => world.row("n2", slice)?.state === state;
  world.node("n2").host.crash(key);
  world.node("n2").host.script("activate", key, "hang");
  const waits: number[] = [];
  for (let crash = 1; crash <= 3; crash++) {
    await world.until(isState("ACTIVATING"), 20_000);
    expect(world.row("n2", slice)?.attempt).toBe(crash);
    await world.kill("n2");
    world.start("n2").host.script("activate", key, "hang");
    await world.until(isState("FAILED"), 3_000);
    waits.push(await world.until(isState("ACTIVATING"), 20_000));
    const others = world.rows().filter((row) => row.startsWith("n2 ") && !row.includes(` ${slice}/`));
    expect(others.every((row) => row.endsWith(" ACTIVE"))).toBe(true);
  }
  const [first = 0, second = 0, third = 0] = waits;
  expect(first).toBeGreaterThanOrEqual(1_000);
  expect(second).toBeGreaterThanOrEqual(2_000);
  expect(third).toBeGreaterThanOrEqual(4_000);
});

test("an instance whose revision is not there any more fails for good and says what to do", async () => {
  await world.apply(blueprintOf({ late: sliceOf("late", 1) }, 1, "extra"));
  const revision = formatKey({ kind: "blueprint", name: "extra", revision: 1 });
  await world.until(() => world.active("late").length === 1, 3_000);
  const node = present(world.active("late")[0], "it runs").split(" ")[0] ?? "";
  const row = present(world.row(node, "late"), "it has a row");
  await world.settled(world.local.kv.transact({ compare: [], then: [{ kind: "delete", key: revision }], else: [] }));
  const artifact = parseArtifactId("demo:late:1.0.0");
  const elsewhere = parseNodeId(node === "n2" ? "n3" : "n2");
  const key = formatKey({ kind: "slice", node: elsewhere, artifact, instance: 7 });
  await world.write(key, { ...row, state: "LOAD" });
  await world.until(() => world.row(elsewhere, "late")?.state === "FAILED", 3_000);
  expect(world.row(elsewhere, "late")?.error).toMatchObject({ code: "E_NOT_FOUND", fatal: true });
  expect(world.row(elsewhere, "late")?.error?.message).toContain("apply the blueprint again");
});

test("a leader that stops in order hands over while its instances still finish their calls", async () => {
  const leader = present(world.leader(), "there is a leader");
  for (const key of world.node(leader).host.hosted().keys()) world.node(leader).host.script("deactivate", key, "hang");
  const { services } = world.node(leader);
  const stopping = services.drainAndStop();
  const others = ["n1", "n2", "n3"].filter((name) => name !== leader).map((name) => world.node(name).services);
  await world.until(() => others.some(({ leadership }) => leadership.isLeader), 6_000);
  await world.settled(stopping);
});
