import { expect, test } from "vitest";
import { plan, type PlanCommand, type PlanInput } from "../../../../src/cluster/core/reconcile.ts";
import { blueprintOf, instanceOf, nodeOf, sliceOf } from "../../../support/cluster-rows.ts";

const NODES = [nodeOf("n1"), nodeOf("n2"), nodeOf("n3")];
const SHOP = blueprintOf({ orders: sliceOf("orders", 2) });
const ON_N1 = instanceOf(SHOP, "orders", { node: "n1", index: 0 });
const ON_N2 = instanceOf(SHOP, "orders", { node: "n2", index: 1 });
const FAILURE = { code: "E_HANDLER", message: "start threw", fatal: false };

function texts(input: Partial<PlanInput>): string[] {
  return plan({ blueprints: [SHOP], nodes: NODES, instances: [], ...input }).commands.map(textOf);
}

function textOf(command: PlanCommand): string {
  if (command.kind === "load") return `load ${command.slice}/${command.index} on ${command.node}`;
  const { row, index, node } = command.instance;
  return `${command.kind} ${row.slice}/${index} on ${node}`;
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
  const made = plan({ blueprints: [blueprint], nodes, instances: [] });
  expect(made.commands).toEqual([]);
  expect(made.unplaced).toEqual([{ blueprint: "shop", slice: "orders", count: 2 }]);
});

test("what is loaded is activated", () => {
  const instances = [
    instanceOf(SHOP, "orders", { node: "n1", index: 0 }, { state: "LOADED" }),
    instanceOf(SHOP, "orders", { node: "n2", index: 1 }, { state: "LOADING" }),
  ];
  expect(texts({ instances })).toEqual(["activate orders/0 on n1"]);
});

test("instances of a gone node are forgotten and placed again; the others stay", () => {
  const instances = [ON_N1, ON_N2];
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

test("a failed instance is loaded again on its node when its back-off is over, with one attempt more", () => {
  const failed = instanceOf(SHOP, "orders", { node: "n1", index: 0 }, { state: "FAILED", attempt: 2, error: FAILURE });
  const other = instanceOf(SHOP, "orders", { node: "n2", index: 1 });
  const early = plan({ blueprints: [SHOP], nodes: NODES, instances: [{ ...failed, unchangedForMs: 1_500 }, other] });
  expect(early.commands).toEqual([]);
  expect(early.againInMs).toBe(500);
  const due = plan({ blueprints: [SHOP], nodes: NODES, instances: [{ ...failed, unchangedForMs: 2_000 }, other] });
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
  expect(plan({ blueprints: [revised], nodes: NODES, instances }).commands).toMatchObject([
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

test("an instance with another config ends only when enough successors serve", () => {
  const old = [ON_N1, ON_N2];
  const changed = blueprintOf({ orders: sliceOf("orders", 2, { config: { currency: "EUR" } }) }, 2);
  expect(texts({ blueprints: [changed], instances: old })).toEqual(["load orders/2 on n3", "load orders/3 on n1"]);
  const one = instanceOf(changed, "orders", { node: "n3", index: 2 });
  const loading = instanceOf(changed, "orders", { node: "n1", index: 3 }, { state: "LOADING" });
  expect(texts({ blueprints: [changed], instances: [...old, one, loading] })).toHaveLength(1);
  const both = instanceOf(changed, "orders", { node: "n1", index: 3 });
  expect(texts({ blueprints: [changed], instances: [...old, one, both] })).toEqual([
    "deactivate orders/0 on n1", "deactivate orders/1 on n2",
  ]);
});
