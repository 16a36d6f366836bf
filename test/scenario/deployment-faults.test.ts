// Real services of three nodes over one real store: nodes die, stop, restart and come back.
import { afterEach, beforeEach, expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { encode } from "../../src/base/codec.ts";
import { parseNodeId } from "../../src/base/ids.ts";
import { VALUE_BYTES_MAX } from "../../src/kvstore/core/limits.ts";
import { blueprintOf, sliceOf } from "../support/cluster-rows.ts";
import { ClusterWorld } from "../support/cluster-world.ts";

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

test("endpoints of a dead node are skipped before their rows are gone", async () => {
  await world.kill("n3");
  await world.clock.advance(50);
  expect(world.rows().some((row) => row.startsWith("n3 "))).toBe(true);
  for (const slice of SLICES) {
    const found = world.node("n1").services.registry.find(slice, "show");
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
  expect(services.registry.find("orders", "show")).toHaveLength(2);
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
  // The revision just fits into one value; the row of its instance says a little more, and does not.
  const hugeOf = (config: string) => blueprintOf({ huge: sliceOf("huge", 1, { config }) }, 1, "big");
  const aroundBytes = encode(hugeOf("")).byteLength + 4;
  await world.apply(hugeOf("c".repeat(VALUE_BYTES_MAX - aroundBytes)));
  await world.apply(blueprintOf({ small: sliceOf("small", 1) }, 1, "late"));
  await world.until(() => world.active("small").length === 1, 5_000);
  await world.clock.advance(20_000);
  expect(world.rows().some((row) => row.includes(" huge/"))).toBe(false);
  expect(world.leader()).toBe("n1");
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
