import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlueprintStore } from "../../../src/slices/blueprints/blueprint-store.ts";
import { RecentLines } from "../../../src/slices/core/recent-lines.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { SliceService } from "../../../src/slices/host/slice-service.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { sampleArchive } from "./sample-artifacts.ts";

let local: LocalKv;
let blueprints: BlueprintStore;
let lines: RecentLines;

beforeEach(async () => {
  local = await createLocalKv();
  const artifacts = new ArtifactRepository({ kv: local.kv, clock: { wallMs: () => 1_700_000_000_000 } });
  blueprints = new BlueprintStore({ kv: local.kv, artifacts });
  lines = new RecentLines(() => true);
  for (const artifact of ["demo:orders:1.0.0", "demo:stock:1.0.0"]) await artifacts.push(sampleArchive({ artifact }));
  await blueprints.apply("shop", {
    slices: {
      orders: { artifact: "demo:orders@^1.0.0", instances: 4, minAvailable: 3, labels: { zone: "a" } },
      stock: { artifact: "demo:stock@^1.0.0" },
    },
  });
});
afterEach(() => local.close());

function serviceOf(life = 7): SliceService {
  return new SliceService({
    blueprints,
    readLines: (slice, query) => (lines.has(slice) ? lines.read(slice, query) : undefined),
    clusterLog: { read: (slice) => Promise.resolve({ lines: [], silent: [], isKnown: lines.has(slice) }) },
    life,
  });
}

describe("scaling a slice", () => {
  test("is a new revision in which only the number of its instances differs", async () => {
    const before = await blueprints.get("shop");
    expect(await serviceOf().scale("orders", 9)).toEqual({
      slice: "orders", instances: 9, minAvailable: 3, blueprint: "shop", revision: 2,
    });
    const { orders, ...others } = (await blueprints.get("shop")).slices;
    const { orders: old, ...othersBefore } = before.slices;
    expect(others).toEqual(othersBefore);
    expect(orders).toEqual({ ...old, instances: 9 });
  });

  test("down and up again: minAvailable never rises by it, and never exceeds the instances", async () => {
    expect(await serviceOf().scale("orders", 2)).toMatchObject({ minAvailable: 2, revision: 2 });
    expect(await serviceOf().scale("orders", 1_000)).toMatchObject({ minAvailable: 2, revision: 3 });
    expect(await serviceOf().scale("orders", 0)).toMatchObject({ minAvailable: 0, revision: 4 });
  });

  test("leaves its rollouts the room that they have by the blueprint", async () => {
    const rollout = { strategy: "rolling", surge: 0, unavailable: 1 } as const;
    await blueprints.apply("shop", { slices: {
      orders: { artifact: "demo:orders@^1.0.0", instances: 4, minAvailable: 3, rollout },
    } });
    expect(await serviceOf().scale("orders", 3)).toMatchObject({ instances: 3, minAvailable: 2 });
    expect(await serviceOf().scale("orders", 0)).toMatchObject({ instances: 0, minAvailable: 0 });
  });

  test("to what it is already writes nothing", async () => {
    expect(await serviceOf().scale("orders", 4)).toMatchObject({ revision: 1 });
    expect((await blueprints.get("shop")).revision).toBe(1);
  });

  test("is refused for a number that is none, and for a slice that no blueprint has", async () => {
    for (const instances of [-1, 1_001, 1.5, Number.NaN]) {
      await expect(serviceOf().scale("orders", instances)).rejects.toMatchObject({ code: "E_INVALID" });
    }
    for (const slice of ["other", "", "a/b"]) {
      await expect(serviceOf().scale(slice, 1)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    }
    expect((await blueprints.get("shop")).revision).toBe(1);
  });

  test("at once by many: each is applied to what the one before it left", async () => {
    const scaled = await Promise.all([
      serviceOf().scale("orders", 2), serviceOf().scale("stock", 5), serviceOf().scale("orders", 3),
    ]);
    expect(scaled.map(({ revision }) => revision).sort()).toEqual([2, 3, 4]);
    const { orders, stock } = (await blueprints.get("shop")).slices;
    expect(stock?.instances).toBe(5);
    const last = scaled.filter(({ slice }) => slice === "orders").sort((a, b) => b.revision - a.revision)[0];
    expect(orders?.instances).toBe(last?.instances);
  });
});

describe("the log of a slice", () => {
  const say = (text: string): void => lines.add("orders", "demo:orders:1.0.0/0", { atMs: 1, level: "info", text });
  const texts = async (service: SliceService, after?: string) => {
    const query = after === undefined ? { linesMax: 10 } : { linesMax: 10, after };
    const { lines: found, next } = await service.log("orders", query);
    return { texts: found.map(({ text }) => text), next };
  };

  test("goes on where an earlier answer ended; of another life of the node everything is new", async () => {
    expect(await texts(serviceOf())).toEqual({ texts: [], next: "7-0" });
    say("one");
    const { next } = await texts(serviceOf(), "7-0");
    say("two");
    expect(await texts(serviceOf(), next)).toEqual({ texts: ["two"], next: "7-2" });
    expect(await texts(serviceOf(8), next)).toEqual({ texts: ["one", "two"], next: "8-2" });
  });

  test("is empty for a slice that has said nothing, and refused for one that nobody has", async () => {
    expect(await serviceOf().log("stock", { linesMax: 1 })).toMatchObject({ lines: [], isComplete: true });
    await expect(serviceOf().log("other", { linesMax: 1 })).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await expect(serviceOf().log("a/b", { linesMax: 1 })).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await expect(serviceOf().log("orders", { linesMax: 1, after: "x" })).rejects.toMatchObject({ code: "E_INVALID" });
    expect(await serviceOf().logOfAll("stock", 1)).toEqual({ lines: [], silent: [] });
    await expect(serviceOf().logOfAll("other", 1)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await expect(serviceOf().logOfAll("a/b", 1)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("is there after the blueprint has gone: who looks for the reason comes later", async () => {
    say("its last words");
    await blueprints.delete("shop");
    expect((await texts(serviceOf())).texts).toEqual(["its last words"]);
  });
});
