// The planner from random states, with nodes that carry out what it commands: where it ends, and what it leaves alone.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { parseArtifactId, parseNodeId } from "../../src/base/ids.ts";
import type { PlanInput, PlanInstance } from "../../src/cluster/deployment/core/plan-types.ts";
import { plan } from "../../src/cluster/deployment/core/reconcile.ts";
import type { ResolvedBlueprint } from "../../src/slices/core/blueprint.ts";
import { INSTANCE_STATES } from "../../src/slices/core/instance-row.ts";
import { specDigestOf } from "../../src/slices/core/spec-digest.ts";
import { MiB } from "../../src/base/units.ts";
import { blueprintOf, inputOf, instanceOf, nodeOf, sliceOf } from "../support/cluster-rows.ts";
import { converge, execute, idOf, placeOf } from "../support/plan-steps.ts";

const SLICES = ["orders", "pricing", "inventory"] as const;
const OTHER_VERSION = parseArtifactId("demo:other:2.0.0");

const nodes = fc.uniqueArray(fc.record({
  name: fc.constantFrom("n1", "n2", "n3", "n4", "n5"),
  status: fc.constantFrom("ready" as const, "gone" as const, "leaving" as const, "ready" as const),
  zone: fc.constantFrom("", "a", "b"),
}), { selector: ({ name }) => name, minLength: 1, maxLength: 5 }).map((specs) => {
  const made = specs.map(({ name, status, zone }) => nodeOf(name, status, zone === "" ? {} : { zone }));
  // Somebody must be there to converge on.
  return [...made, nodeOf("n9")];
});

const blueprint = fc.dictionary(fc.constantFrom(...SLICES), fc.nat(4)).map((counts) =>
  blueprintOf(Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, sliceOf(name, count)])), 2),
);

const states = fc.record({ nodes, blueprint }).chain(({ nodes, blueprint }) => {
  const row = fc.record({
    slice: fc.constantFrom(...SLICES),
    node: fc.constantFrom(...nodes.map(({ node }) => node)),
    index: fc.nat(3),
    state: fc.constantFrom(...INSTANCE_STATES),
    version: fc.constantFrom("current" as const, "current" as const, "config" as const, "artifact" as const),
    attempt: fc.nat(5),
  });
  return fc.array(row, { maxLength: 12 }).map((rows): PlanInput => {
    const unique = new Map(rows.map((spec) => instanceFor(blueprint, spec)).map((one) => [placeOf(one), one]));
    return inputOf({ blueprints: [blueprint], nodes, instances: [...unique.values()] });
  });
});


interface RowSpec {
  readonly slice: string;
  readonly node: string;
  readonly index: number;
  readonly state: PlanInstance["row"]["state"];
  readonly version: "current" | "config" | "artifact";
  readonly attempt: number;
}

function instanceFor(blueprint: ResolvedBlueprint, spec: RowSpec): PlanInstance {
  const wanted = blueprint.slices[spec.slice] ?? sliceOf(spec.slice, 1);
  const slice = spec.version === "config" ? { ...wanted, config: { old: true } } : wanted;
  const made = spec.version === "artifact" ? { ...slice, artifact: OTHER_VERSION } : slice;
  const error = spec.state === "FAILED" ? { error: { code: "E_TIMEOUT", message: "late", fatal: false } } : {};
  const from = blueprintOf({ [spec.slice]: made }, 1);
  return instanceOf(from, spec.slice, spec, { state: spec.state, attempt: spec.attempt, ...error });
}

test("from any state the plan rests with exactly what is wanted, all active, none on a node gone or leaving", () => {
  fc.assert(fc.property(states, (start) => {
    const end = present(converge(start).at(-1), "there is an end");
    const wanted = present(end.blueprints[0], "one blueprint").slices;
    for (const slice of SLICES) {
      const active = end.instances.filter(({ row }) => row.slice === slice && row.state === "ACTIVE");
      expect(active.length).toBe(wanted[slice]?.instances ?? 0);
      for (const { artifact } of active) expect(artifact).toBe(wanted[slice]?.artifact);
      const digest = wanted[slice] === undefined ? undefined : specDigestOf(wanted[slice]);
      for (const { row } of active) expect(row.specDigest).toBe(digest);
    }
    expect(end.instances.every(({ row }) => row.state === "ACTIVE")).toBe(true);
    const shunned = end.nodes.filter(({ status }) => status !== "ready").map(idOf);
    expect(end.instances.filter(({ node }) => shunned.includes(node))).toEqual([]);
  }), { numRuns: 300 });
});

test("the plan does not depend on the order of what it is given", () => {
  fc.assert(fc.property(states, (input) => {
    const reversed = { ...input, nodes: [...input.nodes].reverse(), instances: [...input.instances].reverse() };
    expect(plan(reversed)).toEqual(plan(input));
  }), { numRuns: 300 });
});

test("on the way the number of serving instances falls below the wanted one only where it was below", () => {
  fc.assert(fc.property(states, (start) => {
    const wanted = present(start.blueprints[0], "one blueprint").slices;
    let before: readonly number[] | undefined;
    for (const { instances, nodes } of converge(start)) {
      const isGone = (node: string): boolean => nodes.some((one) => one.node === node && one.status === "gone");
      const serving = SLICES.map((slice) =>
        instances.filter(({ row, node }) => row.slice === slice && row.state === "ACTIVE" && !isGone(node)).length,
      );
      for (const [at, slice] of SLICES.entries()) {
        const floor = Math.min(before?.[at] ?? 0, wanted[slice]?.instances ?? 0);
        expect(serving[at]).toBeGreaterThanOrEqual(floor);
      }
      before = serving;
    }
  }), { numRuns: 300 });
});

test("when a node dies only its own instances move", () => {
  fc.assert(fc.property(blueprint, fc.constantFrom("n1", "n2", "n3"), (blueprint, victim) => {
    const all = [nodeOf("n1"), nodeOf("n2"), nodeOf("n3")];
    const stable = present(converge(inputOf({ blueprints: [blueprint], nodes: all })).at(-1), "there is an end");
    const others = stable.instances.filter(({ node }) => node !== victim).map(placeOf);
    const struck = { ...stable, nodes: [nodeOf(victim, "gone"), ...all.filter(({ node }) => node !== victim)] };
    const end = present(converge(struck).at(-1), "there is an end");
    expect(end.instances.map(placeOf)).toEqual(expect.arrayContaining(others));
    expect(end.instances.length).toBe(stable.instances.length);
    const { commands } = plan(struck);
    const touched = commands.flatMap((command) => (command.kind === "load" ? [] : [command.instance.node]));
    expect(new Set(touched)).toEqual(new Set(touched.length === 0 ? [] : [parseNodeId(victim)]));
  }), { numRuns: 100 });
});

test("instances of one slice differ by at most one between nodes without zones", () => {
  fc.assert(fc.property(fc.nat(9), fc.integer({ min: 1, max: 5 }), (count, nodeCount) => {
    const nodes = Array.from({ length: nodeCount }, (_, index) => nodeOf(`n${index}`));
    const blueprints = [blueprintOf({ orders: sliceOf("orders", count) })];
    const { commands } = plan(inputOf({ blueprints, nodes }));
    const perNode = nodes.map(({ node }) => commands.filter((one) => one.kind === "load" && one.node === node).length);
    expect(Math.max(...perNode) - Math.min(...perNode)).toBeLessThanOrEqual(1);
  }));
});

/** A slice at some revision, active everywhere it should be, on nodes that have little room beside it. */
const replacements = fc.record({
  instances: fc.integer({ min: 1, max: 5 }),
  minAvailable: fc.nat(5),
  places: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
  heap: fc.constantFrom(64 * MiB, 96 * MiB),
  away: fc.nat(3),
}).map(({ instances, minAvailable, places, heap, away }) => {
  const nodes = places.map((count, index) => ({
    // One of the nodes may be away: what stands there is not counted on.
    ...nodeOf(`n${index}`, index > 0 && index === away ? "away" : "ready"),
    memoryBytes: count * 80 * MiB,
  }));
  const before = blueprintOf({ orders: sliceOf("orders", instances) });
  const options = { minAvailable: Math.min(minAvailable, instances), config: { currency: "EUR" }, heapBytesMax: heap };
  const after = blueprintOf({ orders: sliceOf("orders", instances, options) }, 2);
  const old = Array.from({ length: instances }, (_, index) =>
    instanceOf(before, "orders", { node: `n${index % nodes.length}`, index }),
  );
  return inputOf({ blueprints: [after], nodes, instances: old });
});

test("planned moves leave at least minAvailable instances active on nodes that are on duty (minAvailable)", () => {
  fc.assert(fc.property(replacements, (start) => {
    const { minAvailable = 0 } = start.blueprints[0]?.slices["orders"] ?? {};
    const floor = Math.min(minAvailable, servingOf(start));
    for (const input of converge(start)) expect(servingOf(input)).toBeGreaterThanOrEqual(floor);
  }), { numRuns: 300 });
});

test("no node is given more than its memory, and no slice more than its instances twice", () => {
  fc.assert(fc.property(replacements, (start) => {
    const count = present(start.blueprints[0]?.slices["orders"], "there is one slice").instances;
    for (const input of converge(start)) {
      expect(input.instances.length).toBeLessThanOrEqual(2 * count);
      const planned = plan(input);
      const { commands } = planned;
      const after = execute(input, planned).instances;
      for (const { node, memoryBytes } of input.nodes) {
        if (!commands.some((command) => command.kind === "load" && command.node === node)) continue;
        const there = after.filter((instance) => instance.node === node);
        const takenBytes = there.reduce((sum, { heapBytesMax }) => sum + heapBytesMax, 0);
        expect(takenBytes).toBeLessThanOrEqual(0.8 * memoryBytes);
      }
    }
  }), { numRuns: 300 });
});

test("from wherever instances stand they come to stand evenly, without one less serving on the way", () => {
  const standing = fc.record({
    nodeCount: fc.integer({ min: 2, max: 5 }),
    zones: fc.array(fc.constantFrom("", "a", "b"), { minLength: 5, maxLength: 5 }),
    places: fc.array(fc.nat(4), { minLength: 1, maxLength: 8 }),
  });
  fc.assert(fc.property(standing, ({ nodeCount, zones, places }) => {
    const nodes = Array.from({ length: nodeCount }, (_, index) => {
      const zone = zones[index] ?? "";
      return nodeOf(`n${index}`, "ready", zone === "" ? {} : { zone });
    });
    const shop = blueprintOf({ orders: sliceOf("orders", places.length) });
    const instances = places.map((place, index) =>
      instanceOf(shop, "orders", { node: `n${place % nodeCount}`, index }),
    );
    const history = converge(inputOf({ blueprints: [shop], nodes, instances }));
    for (const input of history) {
      expect(servingOf(input)).toBeGreaterThanOrEqual(places.length);
      expect(input.instances.length).toBeLessThanOrEqual(places.length + 1);
    }
    const end = present(history.at(-1), "there is an end").instances;
    const countIn = (zone: string | undefined): number =>
      end.filter(({ node }) => nodes.find((one) => one.node === node)?.labels["zone"] === zone).length;
    const countOn = (node: string): number => end.filter((instance) => instance.node === node).length;
    for (const one of nodes) {
      for (const other of nodes) {
        const [zone, otherZone] = [one.labels["zone"], other.labels["zone"]];
        expect(countIn(zone) - countIn(otherZone)).toBeLessThanOrEqual(1);
        if (zone === otherZone) expect(countOn(one.node) - countOn(other.node)).toBeLessThanOrEqual(1);
      }
    }
  }), { numRuns: 300 });
});

test("what belongs to a blueprint that cannot be read gets no command, whatever its state", () => {
  fc.assert(fc.property(states, (input) => {
    const frozen = { ...input, blueprints: [], frozen: new Set(["shop"]) };
    const gone = new Set(input.nodes.filter(({ status }) => status === "gone").map(({ node }) => node));
    for (const command of plan(frozen).commands) {
      expect(command.kind).toBe("forget");
      if (command.kind === "forget") expect(gone.has(command.instance.node)).toBe(true);
    }
  }), { numRuns: 300 });
});

function servingOf({ instances, nodes }: PlanInput): number {
  const ready = new Set(nodes.filter(({ status }) => status === "ready").map(({ node }) => node));
  return instances.filter(({ node, row }) => row.state === "ACTIVE" && ready.has(node)).length;
}
