import { describe, expect, test } from "vitest";
import { present } from "../../../../src/base/assert.ts";
import { parseArtifactId } from "../../../../src/base/ids.ts";
import { GiB, MiB } from "../../../../src/base/units.ts";
import { instanceSpecOf, type ResolvedBlueprint, type ResolvedSlice } from "../../../../src/slices/core/blueprint.ts";
import type { Plan, PlanCommand, PlanInput, PlanInstance } from "../../../../src/cluster/deployment/core/plan-types.ts";
import { plan } from "../../../../src/cluster/deployment/core/reconcile.ts";
import { rolloutSchema, type InstanceShare } from "../../../../src/sdk/rollout.ts";
import { blueprintOf, inputOf, instanceOf, nodeOf, sliceOf } from "../../../support/cluster-rows.ts";

const NODES = [nodeOf("n1"), nodeOf("n2"), nodeOf("n3")];
const SHOP = blueprintOf({ orders: sliceOf("orders", 2) });
const ON_N1 = instanceOf(SHOP, "orders", { node: "n1", index: 0 });
const ON_N2 = instanceOf(SHOP, "orders", { node: "n2", index: 1 });
const FAILURE = { code: "E_HANDLER", message: "start threw", fatal: false };

function made(input: Partial<PlanInput>): Plan {
  return plan(inputOf({ blueprints: [SHOP], nodes: NODES, ...input }));
}

function texts(input: Partial<PlanInput>): string[] {
  return made(input).commands.map(textOf);
}

function textOf(command: PlanCommand): string {
  const { artifact, index, node } = command.kind === "load" ? command : command.instance;
  return `${command.kind} ${artifact.split(":")[1]}/${index} on ${node}`;
}

test("instances of a new blueprint are spread over the nodes, one slice continuing where the other ended", () => {
  const blueprint = blueprintOf({ a: sliceOf("a", 2), b: sliceOf("b", 2), c: sliceOf("c", 2) });
  expect(texts({ blueprints: [blueprint] })).toEqual([
    "load a/0 on n1", "load a/1 on n2", "load b/0 on n3", "load b/1 on n1", "load c/0 on n2", "load c/1 on n3",
  ]);
});

test("zones come before nodes", () => {
  const inZone = (name: string, zone: string) => nodeOf(name, "ready", { zone });
  const nodes = [inZone("n1", "a"), inZone("n2", "a"), inZone("n3", "b")];
  expect(texts({ nodes })).toEqual(["load orders/0 on n1", "load orders/1 on n3"]);
});

test("with fewer nodes than instances a node gets several", () => {
  expect(texts({ nodes: [nodeOf("n1")] })).toEqual(["load orders/0 on n1", "load orders/1 on n1"]);
});

test("suspected nodes and nodes without the labels get nothing, and what has no place is said", () => {
  const blueprint = blueprintOf({ orders: sliceOf("orders", 2, { labels: { disk: "ssd" } }) });
  const nodes = [nodeOf("n1", "away", { disk: "ssd" }), nodeOf("n2", "ready")];
  const { commands, unplaced } = made({ blueprints: [blueprint], nodes });
  expect(commands).toEqual([]);
  expect(unplaced).toEqual([{ blueprint: "shop", slice: "orders", count: 2, reason: "labels" }]);
  const away = made({ blueprints: [blueprint], nodes: [nodeOf("n1", "away", { disk: "ssd" })] });
  expect(away.unplaced).toMatchObject([{ reason: "no-node" }]);
});

test("what is loaded is activated", () => {
  const instances = [
    instanceOf(SHOP, "orders", { node: "n1", index: 0 }, { state: "LOADED" }),
    instanceOf(SHOP, "orders", { node: "n2", index: 1 }, { state: "LOADING" }),
  ];
  expect(texts({ instances })).toEqual(["activate orders/0 on n1"]);
});

test("instances of a gone node are forgotten and placed again; the others stay", () => {
  const instances = [{ ...ON_N1, unchangedForMs: 3_600_000 }, ON_N2];
  const nodes = [nodeOf("n1", "gone"), nodeOf("n2"), nodeOf("n3")];
  expect(texts({ instances, nodes })).toEqual(["forget orders/0 on n1", "load orders/0 on n3"]);
});

test("instances of a node that is only away are waited for", () => {
  const instances = [
    instanceOf(SHOP, "orders", { node: "n1", index: 0 }, { state: "FAILED", error: FAILURE }),
    instanceOf(SHOP, "orders", { node: "n2", index: 1 }),
  ];
  expect(texts({ instances, nodes: [nodeOf("n1", "away"), nodeOf("n2"), nodeOf("n3")] })).toEqual([]);
});

describe("a node that is to be drained", () => {
  const nodes = [nodeOf("n1", "leaving"), nodeOf("n2"), nodeOf("n3")];
  const successor = (state: "LOADED" | "ACTIVE") => instanceOf(SHOP, "orders", { node: "n3", index: 2 }, { state });

  test("keeps what serves until another one of the same slice serves elsewhere", () => {
    expect(texts({ nodes, instances: [ON_N1, ON_N2] })).toEqual(["load orders/2 on n3"]);
    expect(texts({ nodes, instances: [ON_N1, ON_N2, successor("LOADED")] })).toEqual(["activate orders/2 on n3"]);
    expect(texts({ nodes, instances: [ON_N1, ON_N2, successor("ACTIVE")] })).toEqual(["deactivate orders/0 on n1"]);
  });

  test("loses what does not serve at once, and gets nothing, even when it alone has the labels", () => {
    const failed = instanceOf(SHOP, "orders", { node: "n1", index: 0 }, { state: "FAILED", error: FAILURE });
    expect(texts({ nodes, instances: [failed, ON_N2] })).toEqual(["load orders/2 on n3", "unload orders/0 on n1"]);
    const blueprint = blueprintOf({ orders: sliceOf("orders", 1, { labels: { disk: "ssd" } }) });
    const only = made({ blueprints: [blueprint], nodes: [nodeOf("n1", "leaving", { disk: "ssd" }), nodeOf("n2")] });
    expect([only.commands, only.unplaced]).toMatchObject([[], [{ count: 1, reason: "labels" }]]);
  });

  test("with no other place gives up no more than what minAvailable leaves", () => {
    const onSsd = (minAvailable: number) => {
      const slice = sliceOf("orders", 2, { labels: { disk: "ssd" }, minAvailable });
      const blueprint = blueprintOf({ orders: slice });
      const instances = [0, 1].map((index) => instanceOf(blueprint, "orders", { node: "n1", index }));
      const only = [nodeOf("n1", "leaving", { disk: "ssd" }), nodeOf("n2")];
      return texts({ blueprints: [blueprint], instances, nodes: only });
    };
    expect(onSsd(2)).toEqual([]);
    expect(onSsd(1)).toEqual(["deactivate orders/0 on n1"]);
    expect(onSsd(0)).toEqual(["deactivate orders/0 on n1", "deactivate orders/1 on n1"]);
  });

  test("keeps everything while no node is on duty", () => {
    expect(texts({ nodes: [nodeOf("n1", "leaving"), nodeOf("n2", "leaving")], instances: [ON_N1, ON_N2] })).toEqual([]);
  });

  test("that is wanted again keeps what it still has; the surplus ends", () => {
    const back = [nodeOf("n1"), nodeOf("n2"), nodeOf("n3")];
    expect(texts({ nodes: back, instances: [ON_N1, ON_N2, successor("LOADED")] })).toEqual(["unload orders/2 on n3"]);
  });
});

test("a failed instance is loaded again on its node when its back-off is over, with one attempt more", () => {
  const failed = instanceOf(SHOP, "orders", { node: "n1", index: 0 }, { state: "FAILED", attempt: 2, error: FAILURE });
  const other = instanceOf(SHOP, "orders", { node: "n2", index: 1 });
  const early = made({ instances: [{ ...failed, unchangedForMs: 1_500 }, other] });
  expect(early.commands).toEqual([]);
  expect(early.againInMs).toBe(500);
  const due = made({ instances: [{ ...failed, unchangedForMs: 2_000 }, other] });
  expect(due.commands).toMatchObject([
    { kind: "load", node: "n1", index: 0, attempt: 3, generation: 2, modRevision: 1, error: FAILURE },
  ]);
});

test("a fatal failure waits for a new revision", () => {
  const failed = instanceOf(SHOP, "orders", { node: "n1", index: 0 }, {
    state: "FAILED", attempt: 1, error: { ...FAILURE, fatal: true },
  });
  const instances = [{ ...failed, unchangedForMs: 1e9 }, instanceOf(SHOP, "orders", { node: "n2", index: 1 })];
  expect(texts({ instances })).toEqual([]);
  const revised = { ...SHOP, revision: 2 };
  expect(made({ blueprints: [revised], instances }).commands).toMatchObject([
    { kind: "load", node: "n1", index: 0, attempt: 1, revision: 2 },
  ]);
});

test("surplus ends where it is least useful: what serves ends last", () => {
  const instances = [
    instanceOf(SHOP, "orders", { node: "n1", index: 0 }, { state: "LOADED" }),
    instanceOf(SHOP, "orders", { node: "n2", index: 1 }),
    instanceOf(SHOP, "orders", { node: "n3", index: 2 }),
  ];
  expect(texts({ instances })).toEqual(["unload orders/0 on n1"]);
});

test("surplus that serves ends on the most crowded node", () => {
  const instances = [
    instanceOf(SHOP, "orders", { node: "n1", index: 0 }),
    instanceOf(SHOP, "orders", { node: "n2", index: 1 }),
    instanceOf(SHOP, "orders", { node: "n2", index: 2 }),
  ];
  expect(texts({ instances })).toEqual(["deactivate orders/2 on n2"]);
});

test("a deleted blueprint's instances end step by step", () => {
  const instances = [
    instanceOf(SHOP, "orders", { node: "n1", index: 0 }),
    instanceOf(SHOP, "orders", { node: "n2", index: 1 }, { state: "LOADED" }),
    instanceOf(SHOP, "orders", { node: "n3", index: 2 }, { state: "DEACTIVATING" }),
    instanceOf(SHOP, "orders", { node: "n3", index: 3 }, { state: "ACTIVATING" }),
  ];
  expect(texts({ blueprints: [], instances })).toEqual([
    "deactivate orders/0 on n1", "unload orders/1 on n2", "unload orders/3 on n3",
  ]);
});

test("a new revision that changes only the count restarts nothing", () => {
  const instances = [ON_N1, ON_N2];
  const larger = blueprintOf({ orders: sliceOf("orders", 3) }, 2);
  expect(texts({ blueprints: [larger], instances })).toEqual(["load orders/2 on n3"]);
});

describe("instances with another config", () => {
  const old = [ON_N1, ON_N2];
  const changedTo = (change: Partial<ResolvedSlice>) =>
    blueprintOf({ orders: sliceOf("orders", 2, { config: { currency: "EUR" }, minAvailable: 1, ...change }) }, 2);
  const changed = changedTo({});
  const plain = (shop: ResolvedBlueprint, ...more: readonly PlanInstance[]) =>
    texts({ blueprints: [shop], instances: [...old, ...more] });

  test("end one by one, each when its successor serves", () => {
    expect(plain(changed)).toEqual(["load orders/2 on n3"]);
    const coming = instanceOf(changed, "orders", { node: "n3", index: 2 }, { state: "LOADING" });
    expect(plain(changed, coming)).toEqual([]);
    const come = instanceOf(changed, "orders", { node: "n3", index: 2 });
    expect(plain(changed, come)).toEqual(["deactivate orders/1 on n2"]);
  });

  test("come as many at once, and may be missing as many, as the rollout says", () => {
    const rolling = (surge: InstanceShare, unavailable: InstanceShare) =>
      plain(changedTo({ rollout: { strategy: "rolling", surge, unavailable } }));
    expect(rolling(2, 0)).toEqual(["load orders/2 on n3", "load orders/3 on n1"]);
    expect(rolling(0, 1)).toEqual(["deactivate orders/1 on n2"]);
    expect(rolling(1, 1)).toEqual(["load orders/2 on n3", "deactivate orders/1 on n2"]);
    expect(rolling("100%", 0)).toEqual(["load orders/2 on n3", "load orders/3 on n1"]);
    expect(rolling("30%", "50%")).toEqual(["load orders/2 on n3", "deactivate orders/1 on n2"]);
    expect(rolling(0, "30%")).toEqual(["deactivate orders/1 on n2"]);
  });
});

test("a new version of what a slice uses restarts none of its instances", () => {
  const usesOf = (artifact: string) => ({ pricing: { slice: "pricing", artifact: parseArtifactId(artifact) } });
  const before = blueprintOf({ orders: sliceOf("orders", 1, { uses: usesOf("demo:pricing:1.0.0") }) });
  const after = blueprintOf({ orders: sliceOf("orders", 1, { uses: usesOf("demo:pricing:1.1.0") }) }, 2);
  const instances = [instanceOf(before, "orders", { node: "n1", index: 0 })];
  expect(texts({ blueprints: [after], instances })).toEqual([]);
});

test("a slice is activated once those that it loads after serve; one with no instances is not waited for", () => {
  const shop = (pricing: number) =>
    blueprintOf({ orders: sliceOf("orders", 1, { loadAfter: ["pricing"] }), pricing: sliceOf("pricing", pricing) });
  const orders = instanceOf(shop(1), "orders", { node: "n1", index: 0 }, { state: "LOADED" });
  const pricing = (state: "ACTIVATING" | "ACTIVE", node = "n2") =>
    instanceOf(shop(1), "pricing", { node, index: 0 }, { state });
  expect(texts({ blueprints: [shop(1)], instances: [orders, pricing("ACTIVATING")] })).toEqual([]);
  expect(texts({ blueprints: [shop(1)], instances: [orders, pricing("ACTIVE")] })).toEqual(["activate orders/0 on n1"]);
  expect(texts({ blueprints: [shop(0)], instances: [orders] })).toEqual(["activate orders/0 on n1"]);
  const nodes = [nodeOf("n1"), nodeOf("n2", "away")];
  expect(texts({ blueprints: [shop(1)], nodes, instances: [orders, pricing("ACTIVE")] })).toEqual([]);
  // What serves already goes on without it.
  const active = instanceOf(shop(1), "orders", { node: "n1", index: 0 });
  expect(texts({ blueprints: [shop(1)], instances: [active, pricing("ACTIVATING")] })).toEqual([]);
});

/** A slice with all that a blueprint can say of it, and for each of it what it changes: nothing is said in vain. */
describe("what a blueprint says of a slice changes something", () => {
  const roomForTwo = { ...nodeOf("n1"), memoryBytes: 200 * MiB };
  const shopOf = (change: Partial<ResolvedSlice>, revision = 1) =>
    blueprintOf({ orders: sliceOf("orders", 2, change), pricing: sliceOf("pricing", 1) }, revision);
  const on = (nodes: readonly string[]) =>
    nodes.map((node, index) => instanceOf(shopOf({}), "orders", { node, index }));
  const pricing = (state: "LOADING" | "ACTIVE") =>
    instanceOf(shopOf({}), "pricing", { node: "n1", index: 0 }, { state });
  const plansFor = (change: Partial<ResolvedSlice>, input: Partial<PlanInput> = {}) =>
    made({
      blueprints: [shopOf(change, 2)], nodes: NODES, instances: [...on(["n1", "n2"]), pricing("ACTIVE")], ...input,
    });
  const loaded = instanceOf(shopOf({}), "orders", { node: "n1", index: 0 }, { state: "LOADED" });
  const loadedOnce = { instances: [loaded, pricing("LOADING")] };
  const replaced = (minAvailable: number) =>
    plansFor({ minAvailable, config: { currency: "EUR" } }, { nodes: [roomForTwo], instances: on(["n1", "n1"]) });
  const specWith = (uses: ResolvedSlice["uses"]) => instanceSpecOf(shopOf({ uses }), "orders", 0);
  // Routes and topics have rows of their own, which test/unit/slices-build/blueprint-store.test.ts looks at; schedules
  // have their tests in test/scenario.
  type Planned = Exclude<keyof ResolvedSlice, "routes" | "topics" | "schedules" | "agentSchedules">;
  const changes: Readonly<Record<Planned, () => readonly [unknown, unknown]>> = {
    artifact: () => [plansFor({}), plansFor({ artifact: parseArtifactId("demo:orders:2.0.0") })],
    instances: () => [plansFor({}), plansFor({ instances: 3 })],
    config: () => [plansFor({}), plansFor({ config: { currency: "EUR" } })],
    heapBytesMax: () => [plansFor({}), plansFor({ heapBytesMax: 65 * MiB })],
    concurrency: () => [plansFor({}), plansFor({ concurrency: 9 })],
    variables: () => [plansFor({}), plansFor({ variables: { TZ: "UTC" } })],
    labels: () => [plansFor({}, { instances: [] }), plansFor({ labels: { disk: "ssd" } }, { instances: [] })],
    loadAfter: () => [plansFor({}, loadedOnce), plansFor({ loadAfter: ["pricing"] }, loadedOnce)],
    minAvailable: () => [replaced(1), replaced(2)],
    rollout: () => [1, 2].map((surge) => plansFor({
      config: { currency: "EUR" }, rollout: { strategy: "rolling", surge, unavailable: 0 },
    })) as [Plan, Plan],
    uses: () => [specWith({}), specWith({ pricing: { slice: "pricing", artifact: parseArtifactId("demo:p:1.0.0") } })],
  };

  test.each(Object.entries(changes))("%s", (_field, compare) => {
    const [before, after] = compare();
    expect(after).not.toEqual(before);
  });
});

describe("an instance that may have ended its node", () => {
  const shop = blueprintOf({ orders: sliceOf("orders", 1) });
  const nodes = [nodeOf("n1", "gone"), nodeOf("n2"), nodeOf("n3")];
  const at = (state: "LOADING" | "ACTIVATING" | "ACTIVE" | "LOAD", attempt: number, unchangedForMs: number) =>
    ({ ...instanceOf(shop, "orders", { node: "n1", index: 0 }, { state, attempt }), unchangedForMs });
  const planned = (instance: PlanInstance, input: Partial<PlanInput> = {}) =>
    made({ blueprints: [shop], nodes, instances: [instance], ...input });

  test("is placed elsewhere with its attempts counted on, and its row goes with that write", () => {
    for (const state of ["LOADING", "ACTIVATING", "ACTIVE"] as const) {
      const instance = at(state, 2, 5_000);
      const { commands } = planned(instance);
      expect(commands).toMatchObject([{ kind: "load", node: "n2", attempt: 3, instead: instance, modRevision: 0 }]);
      expect(commands[0]?.kind === "load" && commands[0].error?.message).toMatch(`n1 ended while it was ${state}`);
    }
  });

  test("waits longer after each attempt, wherever it is to come up next", () => {
    const { commands, againInMs } = planned(at("LOADING", 5, 6_000));
    expect(commands).toEqual([]);
    expect(againInMs).toBe(10_000);
    expect(planned(at("LOADING", 5, 16_000)).commands).toMatchObject([{ kind: "load", attempt: 6 }]);
  });

  test("counts anew when it had served for a while, or was not begun", () => {
    for (const instance of [at("ACTIVE", 1, 62_000), at("LOAD", 4, 20_000)]) {
      expect(planned(instance).commands).toMatchObject([{ kind: "forget" }, { kind: "load", node: "n2", attempt: 1 }]);
    }
  });

  test("is forgotten when nobody is to take its place", () => {
    const other = blueprintOf({ orders: sliceOf("orders", 1, { config: { currency: "EUR" } }) }, 2);
    const textsFor = (blueprints: readonly ResolvedBlueprint[]) =>
      planned(at("LOADING", 2, 5_000), { blueprints }).commands.map(textOf);
    expect(textsFor([])).toEqual(["forget orders/0 on n1"]);
    expect(textsFor([other])).toEqual(["load orders/0 on n2", "forget orders/0 on n1"]);
  });

  test("keeps its row, and so its attempts, while there is no node for it", () => {
    const { commands, unplaced } = planned(at("LOADING", 2, 5_000), { nodes: [nodeOf("n1", "gone")] });
    expect([commands, unplaced.length]).toEqual([[], 1]);
  });
});

describe("a node that came back empty", () => {
  const shop = blueprintOf({ orders: sliceOf("orders", 4) });
  const at = (node: string, index: number, state: "ACTIVE" | "LOADING" | "FAILED" | "LOADED" = "ACTIVE") =>
    instanceOf(shop, "orders", { node, index }, { state, ...(state === "FAILED" ? { error: FAILURE } : {}) });
  const crowded = [at("n1", 0), at("n1", 1), at("n2", 2), at("n2", 3)];
  const movesOf = (...instances: readonly ReturnType<typeof at>[]) => texts({ blueprints: [shop], instances });

  test("gets one instance at a time, and the crowded node parts with one when that serves", () => {
    expect(movesOf(...crowded)).toEqual(["load orders/4 on n3"]);
    expect(movesOf(...crowded, at("n3", 4, "LOADING"))).toEqual([]);
    expect(movesOf(...crowded, at("n3", 4, "LOADED"))).toEqual(["activate orders/4 on n3"]);
    expect(movesOf(...crowded, at("n3", 4))).toEqual(["deactivate orders/3 on n2"]);
    expect(movesOf(...crowded.slice(0, 3), at("n3", 4))).toEqual([]);
  });

  test("gets nothing while an instance does not serve, and no second try without its pause", () => {
    expect(movesOf(...crowded.slice(0, 3), at("n2", 3, "LOADING"))).toEqual([]);
    const failed = at("n3", 4, "FAILED");
    expect(movesOf(...crowded, failed)).toEqual([]);
    expect(movesOf(...crowded, { ...failed, unchangedForMs: 1_000 })).toEqual(["load orders/4 on n3"]);
  });

  test("in a zone that has its share gets nothing: what moves there would have to move back", () => {
    const inB = ["n2", "n3", "n4"].map((name) => nodeOf(name, "ready", { zone: "b" }));
    const nodes = [nodeOf("n1", "ready", { zone: "a" }), ...inB];
    const even = blueprintOf({ orders: sliceOf("orders", 6) });
    const places = ["n1", "n1", "n1", "n2", "n3", "n4"];
    const instances = places.map((node, index) => instanceOf(even, "orders", { node, index }));
    expect(texts({ blueprints: [even], nodes, instances })).toEqual([]);
  });

  test("without the memory for it gets nothing", () => {
    const nodes = [nodeOf("n1"), nodeOf("n2"), { ...nodeOf("n3"), memoryBytes: 64 * MiB }];
    expect(texts({ blueprints: [shop], nodes, instances: crowded })).toEqual([]);
  });
});

describe("what cannot be read", () => {
  const changed = blueprintOf({ orders: sliceOf("orders", 1, { config: { currency: "EUR" } }) }, 2);

  test("of a blueprint leaves its instances as they are, and other blueprints' go on", () => {
    const other = blueprintOf({ pricing: sliceOf("pricing", 1) }, 1, "prices");
    const failure = { state: "FAILED", attempt: 0, error: FAILURE } as const;
    const failed = instanceOf(SHOP, "orders", { node: "n2", index: 1 }, failure);
    const loaded = instanceOf(SHOP, "orders", { node: "n3", index: 2 }, { state: "LOADED" });
    const instances = [ON_N1, failed, loaded];
    expect(texts({ blueprints: [other], frozen: new Set(["shop"]), instances })).toEqual(["load pricing/0 on n1"]);
  });

  test("of a blueprint does not keep the row of a node that is gone", () => {
    const nodes = [nodeOf("n1", "gone"), nodeOf("n2")];
    expect(texts({ blueprints: [], frozen: new Set(["shop"]), nodes, instances: [ON_N1, ON_N2] })).toEqual([
      "forget orders/0 on n1",
    ]);
  });

  test("of an instance counts as one, keeps its index and gets no command", () => {
    const { node, artifact, index, modRevision } = ON_N1;
    const unreadable = [{ node, artifact, index, modRevision }];
    expect(texts({ unreadable })).toEqual(["load orders/1 on n2"]);
    expect(texts({ unreadable, instances: [ON_N2] })).toEqual([]);
    expect(texts({ unreadable, blueprints: [] })).toEqual([]);
    expect(texts({ unreadable, blueprints: [changed] })).toEqual([]);
    expect(texts({ unreadable, nodes: [nodeOf("n1", "gone"), nodeOf("n2")], blueprints: [] })).toEqual([
      "forget orders/0 on n1",
    ]);
  });
});

describe("the memory of nodes", () => {
  const small = (name: string, instances: number) => ({ ...nodeOf(name), memoryBytes: instances * 100 * MiB });
  const big = (count: number, options = {}, revision = 1) =>
    blueprintOf({ orders: sliceOf("orders", count, { heapBytesMax: 80 * MiB, ...options }) }, revision);

  test("holds no more instances than fit beside the node itself, and what does not fit is said", () => {
    const nodes = [small("n1", 2), small("n2", 1), nodeOf("n3", "away")];
    const { commands, unplaced } = made({ blueprints: [big(5)], nodes });
    expect(commands.map(textOf)).toEqual(["load orders/0 on n1", "load orders/1 on n2", "load orders/2 on n1"]);
    expect(unplaced).toEqual([{ blueprint: "shop", slice: "orders", count: 2, reason: "capacity" }]);
  });

  test("ends nothing that runs when there is less of it than before", () => {
    const blueprint = big(2);
    const instances = [0, 1].map((index) => instanceOf(blueprint, "orders", { node: "n1", index }));
    expect(texts({ blueprints: [blueprint], nodes: [small("n1", 1)], instances })).toEqual([]);
  });

  test("for no successor beside the old ones lets as many end as may be missing, and no more (minAvailable)", () => {
    const nodes = [small("n1", 2), small("n2", 1)];
    const before = big(3);
    const instances = [
      instanceOf(before, "orders", { node: "n1", index: 0 }),
      instanceOf(before, "orders", { node: "n1", index: 1 }),
      instanceOf(before, "orders", { node: "n2", index: 2 }),
    ];
    const after = (minAvailable: number) => [big(3, { config: { currency: "EUR" }, minAvailable }, 2)];
    expect(texts({ blueprints: after(3), nodes, instances })).toEqual([]);
    expect(texts({ blueprints: after(2), nodes, instances })).toEqual(["deactivate orders/0 on n1"]);
    expect(texts({ blueprints: after(1), nodes, instances })).toEqual([
      "deactivate orders/0 on n1", "deactivate orders/1 on n1",
    ]);
    // What is on its way out makes room already: nobody else has to leave for the same successor.
    const [first, ...rest] = instances;
    const leaving = instanceOf(before, "orders", { node: "n1", index: 0 }, { state: "DEACTIVATING" });
    expect(first).toMatchObject({ node: leaving.node, index: leaving.index });
    expect(texts({ blueprints: after(2), nodes, instances: [leaving, ...rest] })).toEqual([]);
  });

  test("that would not suffice for a successor either way ends nothing", () => {
    const before = big(1);
    const larger = [big(1, { heapBytesMax: 2 * GiB, minAvailable: 0 }, 2)];
    const instances = [instanceOf(before, "orders", { node: "n1", index: 0 })];
    const { commands, unplaced } = made({ blueprints: larger, nodes: [small("n1", 1)], instances });
    expect(commands).toEqual([]);
    expect(unplaced).toMatchObject([{ reason: "capacity" }]);
  });

  test("elsewhere than where the labels ask for it ends nothing", () => {
    const before = big(1, { labels: {} });
    const labelled = [big(1, { labels: { disk: "ssd" }, config: { currency: "EUR" }, minAvailable: 0 }, 2)];
    const instances = [instanceOf(before, "orders", { node: "n1", index: 0 })];
    expect(texts({ blueprints: labelled, nodes: [small("n1", 1)], instances })).toEqual([]);
  });
});

test("a canary whose calls nobody counts yet waits for the end of another one, and says so", () => {
  const rollout = rolloutSchema.parse({ strategy: "canary" });
  const before = blueprintOf({ orders: sliceOf("orders", 2, { rollout }) });
  const after = blueprintOf({ orders: sliceOf("orders", 2, { rollout, config: { currency: "EUR" } }) }, 2);
  const instances = [0, 1].map((index) => instanceOf(before, "orders", { node: `n${index + 1}`, index }));
  const revisionOf = (_name: string, revision: number) => [before, after][revision - 1];
  const begun = present(made({ blueprints: [after], instances, revisionOf }).rollouts[0], "a rollout begins");
  const row = { ...present(begun.row, "it has a row"), sinceMs: 0 };
  const rollouts = [{ blueprint: "shop", slice: "orders", row, modRevision: 9, unchangedForMs: 0, tally: undefined }];
  expect(made({ blueprints: [after], instances, revisionOf, rollouts }).waiting).toEqual([{
    blueprint: "shop", slice: "orders", wait: {
      what: "turn", isLate: true,
      message: "the 128 canaries that are judged at once were there before: it begins when one of them ends",
    },
  }]);
});

describe("an instance that its node does not move", () => {
  const stuck = (state: "LOADING" | "UNLOADING" | "LOAD", unchangedForMs: number) =>
    ({ ...instanceOf(SHOP, "orders", { node: "n1", index: 0 }, { state }), unchangedForMs });

  test("past the limit of its work gets the way out, and is placed anew when it is gone", () => {
    expect(texts({ instances: [stuck("LOADING", 150_000), ON_N2] })).toEqual([]);
    expect(texts({ instances: [stuck("LOADING", 150_001), ON_N2] })).toEqual(["unload orders/0 on n1"]);
    expect(texts({ blueprints: [], instances: [stuck("UNLOADING", 150_001)] })).toEqual(["unload orders/0 on n1"]);
  });

  test("is said when its command is not begun, and left alone", () => {
    const late = made({ instances: [stuck("LOAD", 30_001), ON_N2] });
    expect(late.commands).toEqual([]);
    expect(late.stalled).toMatchObject([{ node: "n1", index: 0 }]);
    expect(made({ instances: [stuck("LOAD", 30_000), ON_N2] }).stalled).toEqual([]);
  });

  test("on a node that is away is waited for", () => {
    const nodes = [nodeOf("n1", "away"), nodeOf("n2"), nodeOf("n3")];
    const { commands, stalled } = made({ nodes, instances: [stuck("LOADING", 1e9), ON_N2] });
    expect({ commands, stalled }).toEqual({ commands: [], stalled: [] });
  });
});

test("a plan for a thousand instances looks at each node once per instance, and not at each instance", () => {
  const thousand = blueprintOf({ orders: sliceOf("orders", 1_000, { heapBytesMax: 16 * MiB }) });
  const one = blueprintOf({ orders: sliceOf("orders", 1, { heapBytesMax: 16 * MiB }) }, 2);
  let looks = 0;
  const nodes = Array.from({ length: 10 }, (_, index) =>
    Object.defineProperty({ ...nodeOf(`n${index}`), memoryBytes: 100 * GiB }, "labels", { get: () => (looks++, {}) }),
  );
  const { commands } = made({ blueprints: [thousand], nodes });
  expect(commands).toHaveLength(1_000);
  const instances = Array.from({ length: 1_000 }, (_, index) =>
    instanceOf(thousand, "orders", { node: `n${index % 10}`, index }),
  );
  expect(made({ blueprints: [one], nodes, instances }).commands).toHaveLength(999);
  expect(looks).toBeLessThan(10 * 2 * 1_000 * nodes.length);
});
