import { describe, expect, test } from "vitest";
import { parseArtifactId, parseDigest, parseNodeId, type NodeId } from "../../../src/base/ids.ts";
import type { PlacedEndpoint, PlacedRollout } from "../../../src/cluster/cluster-views.ts";
import { EndpointRegistry } from "../../../src/cluster/endpoints/endpoint-registry.ts";
import type { Row, RowListener } from "../../../src/cluster/row-view.ts";
import { formatKey, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "../../../src/slices/core/blueprint.ts";
import type { RolloutStage } from "../../../src/slices/core/rollout-row.ts";
import { blueprintOf, sliceOf } from "../../support/cluster-rows.ts";
import { sampleManifest } from "../slices-build/sample-artifacts.ts";

const SELF = parseNodeId("n1");

/** What a registry follows, counting what it asks. */
class World {
  readonly rows = new Map<KeyText, Row<PlacedEndpoint>>();
  readonly suspected = new Set<NodeId>();
  readonly artifacts = new Map<KeyText, unknown>();
  blueprints: readonly ResolvedBlueprint[] = [];
  /** Of the slices that are on their way to another version. */
  readonly next = new Map<string, ResolvedSlice>();
  rowsRead = 0;
  nodesAsked = 0;
  manifestsRead = 0;
  readonly registry: EndpointRegistry;
  private onEndpoints: RowListener = () => undefined;
  private readonly rollouts = new Map<KeyText, Row<PlacedRollout>>();
  private onVersions: () => void = () => undefined;
  private onRollouts: RowListener = () => undefined;
  private onNodes: () => void = () => undefined;

  constructor() {
    this.registry = new EndpointRegistry({
      self: SELF,
      kv: {
        get: (key) => {
          this.manifestsRead++;
          const value = this.artifacts.get(key);
          if (value === undefined) return Promise.resolve({ revision: 1 });
          return Promise.resolve({ revision: 1, entry: { key, value, modRevision: 1, createRevision: 1, version: 1 } });
        },
      },
      views: {
        endpoints: {
          get: (key) => {
            this.rowsRead++;
            return this.rows.get(key);
          },
          subscribe: (listener) => void (this.onEndpoints = listener),
        },
        rollouts: { rows: () => this.rollouts, subscribe: (listener) => void (this.onRollouts = listener) },
      },
      leading: {
        all: () => this.blueprints.flatMap(({ name: blueprint, slices }) => Object.entries(slices).map(
          ([slice, resolved]) => ({
            blueprint, slice, resolved, isCurrent: true, isSettled: true, next: this.next.get(slice),
          }),
        )),
        subscribe: (listener) => void (this.onVersions = listener),
      },
      membership: {
        isServing: (node) => {
          this.nodesAsked++;
          return !this.suspected.has(node);
        },
        onChange: (listener) => void (this.onNodes = listener),
      },
    });
  }

  /** Puts or removes endpoints as one change. */
  change(names: readonly string[], kind: "put" | "delete" = "put"): void {
    const changed = names.map((name) => {
      const { slice = "", method = "", node = "", version = "", index = "" } = NAME.exec(name)?.groups ?? {};
      const place = { slice, method, node: parseNodeId(node), artifact: parseArtifactId(`demo:${slice}:${version}`) };
      const text = formatKey({ kind: "endpoint", ...place, instance: Number(index) });
      const value = { ...place, index: Number(index), effect: "read", timeoutMs: 1_000 } as const;
      if (kind === "put") this.rows.set(text, { text, modRevision: 1, value });
      else this.rows.delete(text);
      return text;
    });
    this.onEndpoints(changed);
  }

  /** Writes the rollout of a slice of a blueprint, or deletes it. */
  rollOut(blueprint: string, slice: string, stage: RolloutStage | undefined): void {
    const text = formatKey({ kind: "rollout", blueprint, slice });
    const artifact = parseArtifactId("demo:orders:1.0.0");
    const version = { artifact, specDigest: parseDigest("a".repeat(64)), revision: 1 };
    const versions = { target: version, previous: version };
    if (stage === undefined) this.rollouts.delete(text);
    else {
      const row = { strategy: "rolling", stage, ...versions, sinceMs: 0 } as const;
      this.rollouts.set(text, { text, modRevision: 1, value: { blueprint, slice, row } });
    }
    this.onRollouts([text]);
  }

  apply(...blueprints: readonly ResolvedBlueprint[]): void {
    this.blueprints = blueprints;
    this.onVersions();
  }

  suspect(node: string): void {
    this.suspected.add(parseNodeId(node));
    this.onNodes();
  }

  store(artifact: string, method = "ping"): void {
    const key = formatKey({ kind: "artifact", artifact: parseArtifactId(artifact) });
    const { methods: { ping }, ...manifest } = sampleManifest({ artifact });
    this.artifacts.set(key, { manifest: { ...manifest, methods: { [method]: ping } } });
  }

  found(slice: string, method: string): readonly string[] {
    return this.registry.find(slice, method).all.endpoints.map(({ id }) => id);
  }
}

/** Such as `orders.show n2 1.0.0/3`. */
const NAME = /^(?<slice>[a-z0-9-]+)\.(?<method>\w+) (?<node>\S+) (?<version>[^/]+)\/(?<index>\d+)$/;

describe("the endpoints of a method", () => {
  test("follow the rows: those that come, move to another method or go", () => {
    const world = new World();
    expect(world.found("orders", "show")).toEqual([]);
    world.change(["orders.show n2 1.0.0/1", "orders.show n1 1.0.0/0", "orders.place n1 1.0.0/0"]);
    expect(world.found("orders", "show")).toEqual(["n1/demo:orders:1.0.0/0", "n2/demo:orders:1.0.0/1"]);
    expect(world.registry.find("orders", "show").all.local.map(({ node }) => node)).toEqual(["n1"]);
    world.change(["orders.show n1 1.0.0/0"], "delete");
    expect(world.found("orders", "show")).toEqual(["n2/demo:orders:1.0.0/1"]);
    world.change(["orders.show n2 1.0.0/1"], "delete");
    expect(world.found("orders", "show")).toEqual([]);
    expect(world.found("orders", "place")).toEqual(["n1/demo:orders:1.0.0/0"]);
  });

  test("are in the order of their keys, by version the newest first", () => {
    const world = new World();
    world.change(["orders.show n2 1.10.0/0", "orders.show n1 1.9.0/0", "orders.show n3 1.9.0/1"]);
    const { versions } = world.registry.find("orders", "show");
    expect([...versions].map(([artifact, { endpoints }]) => [artifact, endpoints.map(({ node }) => node)])).toEqual([
      ["demo:orders:1.10.0", ["n2"]], ["demo:orders:1.9.0", ["n1", "n3"]],
    ]);
  });

  test("stay there while their node is suspected, which is told apart and at once", () => {
    const world = new World();
    world.change(["orders.show n2 1.0.0/0"]);
    expect(world.registry.isServing(parseNodeId("n2"))).toBe(true);
    world.suspect("n2");
    expect([world.found("orders", "show").length, world.registry.isServing(parseNodeId("n2"))]).toEqual([1, false]);
  });

  test("listeners hear of rows, blueprints and nodes", () => {
    const world = new World();
    let heard = 0;
    world.registry.onChange(() => void heard++);
    world.change(["orders.show n2 1.0.0/0"]);
    world.apply();
    world.suspect("n2");
    expect(heard).toBe(3);
  });
});

test("endpoints of a slice are shared as its rollout says, as long as it is under way", () => {
  const world = new World();
  const splitOf = () => world.registry.find("orders", "show").split;
  world.change(["orders.show n2 1.0.0/0"]);
  expect(splitOf()).toBeUndefined();
  world.rollOut("shop", "orders", "shifting");
  expect(splitOf()).toEqual({ kind: "even" });
  world.change(["orders.show n1 1.1.0/0"]);
  expect(splitOf()).toEqual({ kind: "even" });
  // What is left of a blueprint that had the slice before says nothing.
  world.rollOut("old", "orders", "rolled-back");
  expect(splitOf()).toEqual({ kind: "even" });
  world.rollOut("shop", "orders", "done");
  expect(splitOf()).toBeUndefined();
  world.rollOut("shop", "orders", "rolling-back");
  world.rollOut("shop", "orders", undefined);
  expect(splitOf()).toBeUndefined();
});

describe("what a question costs with 10,000 endpoints", () => {
  const SLICES = 100;
  const names = Array.from({ length: SLICES * 100 }, (_, at) => `s${at % SLICES}.run n${at % 7} 1.0.0/${at}`);

  test("a call reads no row, asks no node twice, and gets the same set as the one before", () => {
    const world = new World();
    world.change(names);
    expect(world.rowsRead).toBe(names.length);
    const first = world.registry.find("s3", "run");
    for (let round = 0; round < 1_000; round += 1) {
      expect(world.registry.find("s3", "run")).toBe(first);
      for (const { node } of first.all.endpoints) world.registry.isServing(node);
    }
    expect([world.rowsRead, world.nodesAsked]).toEqual([names.length, 7]);
    expect(first.all.endpoints).toHaveLength(100);
  });

  test("a change reads its own rows and leaves the sets of other methods as they are; a suspicion all", () => {
    const world = new World();
    world.change(names);
    const [own, other] = [world.registry.find("s3", "run"), world.registry.find("s4", "run")];
    const before = world.rowsRead;
    world.change(["s3.run n3 1.0.0/3"], "delete");
    world.suspect("n2");
    expect(world.rowsRead - before).toBe(1);
    expect(world.registry.find("s3", "run")).not.toBe(own);
    expect(world.registry.find("s4", "run")).toBe(other);
  });
});

describe("what a slice has by its blueprint", () => {
  const shop = blueprintOf({ orders: sliceOf("orders", 1) });

  test("a slice is known while a blueprint has it", () => {
    const world = new World();
    expect(world.registry.isKnown("orders")).toBe(false);
    world.apply(shop);
    expect([world.registry.isKnown("orders"), world.registry.isKnown("pricing")]).toEqual([true, false]);
    world.apply();
    expect(world.registry.isKnown("orders")).toBe(false);
  });

  test("its methods are those of the artifact that the blueprint names, read once", async () => {
    const world = new World();
    world.store("demo:orders:1.0.0");
    world.apply(shop);
    for (let round = 0; round < 3; round += 1) expect(await world.registry.declaredMethods("orders")).toEqual(["ping"]);
    expect(world.manifestsRead).toBe(1);
  });

  test("while another version is to lead, its methods are among them", async () => {
    const world = new World();
    world.store("demo:orders:1.0.0");
    world.store("demo:orders:2.0.0", "pong");
    world.next.set("orders", sliceOf("orders", 1, { artifact: parseArtifactId("demo:orders:2.0.0") }));
    world.apply(shop);
    expect(await world.registry.declaredMethods("orders")).toEqual(["ping", "pong"]);
    world.next.clear();
    world.apply(shop);
    expect(await world.registry.declaredMethods("orders")).toEqual(["ping"]);
  });

  test("nothing is said of a slice nobody wants, nor of an artifact that cannot be read", async () => {
    const world = new World();
    world.apply(shop);
    expect(await world.registry.declaredMethods("pricing")).toBeUndefined();
    expect(await world.registry.declaredMethods("orders")).toBeUndefined();
    world.store("demo:orders:1.0.0");
    expect(await world.registry.declaredMethods("orders")).toEqual(["ping"]);
  });
});
