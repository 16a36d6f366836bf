import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { defineContract, defineSlice, method } from "../../../src/sdk/index.ts";
import { buildSlices, createTestCluster, inlineSlice, type TestSlice } from "../../../src/testkit/index.ts";
import type { TestCluster } from "../../../src/testkit/index.ts";
import { meter } from "./slices/meter/contract.ts";

const METER = new URL("./slices/meter", import.meta.url);

const ledger = defineContract("ledger", {
  add: method({ input: z.object({ id: z.string() }), output: z.object({ ageMs: z.number() }) }),
  sum: method({ input: z.object({}), output: z.object({ count: z.int() }), effect: "read" }),
});

/** Takes 20 ms for each write, and counts them from `first` on; each instance knows its own. */
function createLedger(artifact: string, first = 0): TestSlice {
  return inlineSlice({
    artifact,
    create: ({ sleep, nowMs }) => {
      let count = first;
      const bornMs = nowMs();
      return defineSlice({
        contract: ledger,
        methods: {
          add: async () => {
            await sleep(20);
            count += 1;
            return { ageMs: nowMs() - bornMs };
          },
          sum: () => ({ count }),
        },
      });
    },
  });
}

const ledgerSlice = createLedger("test:ledger:1.0.0");
const ADDED = { ageMs: expect.any(Number) as number };

async function openLedger(options: { readonly seed?: number; readonly instances?: number } = {}): Promise<TestCluster> {
  const { seed = 1, instances = 1 } = options;
  const cluster = await createTestCluster({
    nodes: 3,
    seed,
    time: "virtual",
    slices: [ledgerSlice],
    blueprint: { name: "books", slices: { ledger: { artifact: "test:ledger:1.0.0", instances } } },
  });
  onTestFinished(() => cluster.close());
  return cluster;
}

/** Where the one instance of the ledger is, and a node where it is not. */
async function placeOf(cluster: TestCluster): Promise<{ readonly host: string; readonly other: string }> {
  const [instance] = await cluster.instances("ledger");
  const host = instance?.node ?? "";
  return { host, other: cluster.nodes.find((node) => node !== host) ?? "" };
}

/** Until it runs on another node than this one. */
async function movedFrom(cluster: TestCluster, node: string): Promise<void> {
  await cluster.until(async () => {
    const instances = await cluster.instances("ledger");
    return instances.some((instance) => instance.state === "ACTIVE" && instance.node !== node);
  }, 60_000);
}

/** Until one instance runs, and nothing else is left. */
async function isAlone(cluster: TestCluster): Promise<void> {
  await cluster.until(async () => {
    const instances = await cluster.instances("ledger");
    return instances.length === 1 && instances[0]?.state === "ACTIVE";
  }, 60_000);
}

describe("a test cluster", () => {
  test("runs slices, takes calls through any node, and stands still in between", async () => {
    const cluster = await openLedger();
    const { sum } = cluster.slice(ledger);
    for (const via of cluster.nodes) await cluster.slice(ledger, { via }).add({ id: via });
    expect(await sum({})).toEqual({ count: 3 });
    expect(cluster.leader()).toMatch(/^n[123]$/);
    const beforeMs = cluster.nowMs;
    await new Promise((resolve) => setImmediate(resolve));
    expect(cluster.nowMs).toBe(beforeMs);
    await cluster.advance(60_000);
    expect(cluster.nowMs).toBe(beforeMs + 60_000);
  });

  test("repeats a run from its seed, event by event, and another seed is another run", async () => {
    const play = async (seed: number): Promise<string> => {
      const cluster = await openLedger({ seed, instances: 2 });
      const { add } = cluster.slice(ledger);
      const adding = ["a", "b", "c", "d"].map((id) => add({ id }));
      await cluster.advance(7);
      cluster.kill("n2");
      await Promise.allSettled(adding);
      await cluster.advance(8_000);
      return cluster.traceHash;
    };
    const first = await play(5);
    expect(await play(5)).toBe(first);
    expect(await play(6)).not.toBe(first);
  });

  test("a node that dies under a write leaves it in doubt, and its instance starts elsewhere", async () => {
    const cluster = await openLedger();
    const { host, other } = await placeOf(cluster);
    const { add, sum } = cluster.slice(ledger, { via: other });
    await add({ id: "before" });
    const adding = add({ id: "under way" });
    await cluster.advance(5);
    cluster.kill(host);
    await expect(adding).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: "unknown" });
    await movedFrom(cluster, host);
    // What was only in the memory of the instance is gone.
    expect(await sum({})).toEqual({ count: 0 });
    await cluster.start(host);
    expect((await cluster.instances("ledger")).map(({ state }) => state)).toEqual(["ACTIVE"]);
  });

  test("a client whose node dies tries a read elsewhere, and says that a write is in doubt", async () => {
    const cluster = await openLedger();
    const { host, other } = await placeOf(cluster);
    const [writing, reading] = [cluster.slice(ledger, { via: other }).add({ id: "a" }), cluster.slice(ledger).sum({})];
    cluster.kill(other);
    const inDoubt = { code: "E_TIMEOUT", outcome: "unknown", details: { class: "no-answer" } };
    await expect(writing).rejects.toMatchObject(inDoubt);
    expect((await reading).count).toBeLessThanOrEqual(1);
    expect(host).not.toBe(other);
  });

  test("a partition cuts calls off, and after it is healed they go through again", async () => {
    const cluster = await openLedger();
    const { host, other } = await placeOf(cluster);
    cluster.partition([host]);
    const far = cluster.slice(ledger, { via: other });
    await expect(far.add({ id: "far" })).rejects.toMatchObject({ outcome: expect.any(String) as string });
    // The instance there goes on: it needs no quorum to answer.
    expect(await cluster.slice(ledger, { via: host }).add({ id: "near" })).toEqual(ADDED);
    cluster.heal();
    await isAlone(cluster);
    expect(await far.add({ id: "healed" })).toEqual(ADDED);
  });

  test("a node that stands still keeps what it has, and answers when it goes on", async () => {
    const cluster = await openLedger();
    const { host } = await placeOf(cluster);
    const near = cluster.slice(ledger, { via: host });
    await near.add({ id: "a" });
    const startMs = cluster.nowMs;
    cluster.pause(host, 3_000);
    expect(await near.sum({})).toEqual({ count: 1 });
    expect(cluster.nowMs - startMs).toBeGreaterThanOrEqual(3_000);
  });

  test("a node that is stopped answers its calls first, and its instance is back after its start", async () => {
    const cluster = await openLedger();
    const { host, other } = await placeOf(cluster);
    const adding = cluster.slice(ledger, { via: other }).add({ id: "a" });
    await cluster.advance(5);
    await cluster.stop(host);
    expect(await adding).toEqual(ADDED);
    await cluster.start(host);
    await isAlone(cluster);
    expect(await cluster.slice(ledger).sum({})).toEqual({ count: 0 });
  });

  test("survives that all nodes lose their power at once: what is in the store is on disk", async () => {
    const cluster = await openLedger({ instances: 2 });
    for (const node of cluster.nodes) cluster.kill(node);
    await expect(cluster.slice(ledger).sum({}, { timeoutMs: 200 })).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
    await Promise.all(cluster.nodes.map((node) => cluster.start(node)));
    await cluster.until(async () => {
      const instances = await cluster.instances("ledger");
      return instances.length === 2 && instances.every(({ state }) => state === "ACTIVE");
    }, 60_000);
    expect(await cluster.slice(ledger).add({ id: "again" })).toEqual(ADDED);
  });

  test("takes new versions and other numbers of instances while it runs", async () => {
    const cluster = await openLedger();
    await cluster.push(createLedger("test:ledger:1.1.0", 100));
    const slices = { ledger: { artifact: "test:ledger@^1.0.0", instances: 3 } };
    expect(await cluster.apply({ name: "books", slices })).toEqual({ name: "books", revision: 2 });
    const instances = await cluster.instances("ledger");
    expect(instances.map(({ artifact, state }) => `${artifact} ${state}`)).toEqual(
      Array.from({ length: 3 }, () => "test:ledger:1.1.0 ACTIVE"),
    );
    expect(await cluster.slice(ledger).sum({})).toEqual({ count: 100 });
  });

  test("says what is wrong: options, blueprints, nodes, conditions that never hold", async () => {
    const blueprint = { name: "books", slices: { ledger: { artifact: "test:ledger:1.0.0" } } };
    const options = { time: "virtual", slices: [ledgerSlice], blueprint } as const;
    await expect(createTestCluster({ ...options, nodes: 0 })).rejects.toMatchObject({ code: "E_INVALID" });
    await expect(createTestCluster({ ...options, labels: { n9: {} } })).rejects.toThrow("labels name n9");
    await expect(createTestCluster({ ...options, slices: [] })).rejects.toThrow("the cluster holds no test:ledger");
    const cluster = await openLedger();
    expect(() => cluster.kill("n9")).toThrow("it has n1, n2, n3");
    const startMs = cluster.nowMs;
    await expect(cluster.until(() => false, 200)).rejects.toMatchObject({ details: { seed: 1 } });
    expect(cluster.nowMs - startMs).toBe(200);
    await cluster.close();
    await expect(cluster.advance(1)).rejects.toThrow("this test cluster is closed");
  });

  test("places by the labels of its nodes", async () => {
    const cluster = await createTestCluster({
      nodes: 3,
      time: "virtual",
      labels: { n3: { disk: "fast" } },
      slices: [ledgerSlice],
      blueprint: { name: "books", slices: { ledger: { artifact: "test:ledger:1.0.0", labels: { disk: "fast" } } } },
    });
    onTestFinished(() => cluster.close());
    expect((await cluster.instances("ledger")).map(({ node }) => node)).toEqual(["n3"]);
  });
});

describe("a slice built from its package", () => {
  let slices: readonly TestSlice[];
  beforeAll(async () => {
    slices = await buildSlices([METER]);
  });

  async function openMeter(instances = 1): Promise<TestCluster> {
    const variables = { GREETING: "hello" };
    const one = { artifact: "test:meter:1.0.0", instances, variables, config: { text: "given" } };
    const blueprint = { name: "lab", slices: { meter: one } };
    const cluster = await createTestCluster({ nodes: 3, time: "virtual", slices, blueprint });
    onTestFinished(() => cluster.close());
    return cluster;
  }

  test("waits in virtual time, however it waits", async () => {
    const cluster = await openMeter();
    const waited = await cluster.slice(meter).wait({ delayMs: 4_000 });
    expect(waited.timeoutMs).toBeCloseTo(4_000, -1);
    expect(waited.promiseMs).toBeCloseTo(4_000, -1);
    expect(waited.ticks).toBeGreaterThanOrEqual(7);
  });

  test("a call that nobody answers ends at its deadline, after a minute that takes moments", async () => {
    const cluster = await openMeter();
    const startMs = cluster.nowMs;
    await expect(cluster.slice(meter).hang({}, { timeoutMs: 60_000 })).rejects.toMatchObject({ code: "E_TIMEOUT" });
    expect(cluster.nowMs - startMs).toBeGreaterThanOrEqual(60_000);
    await cluster.advance(10);
    expect(cluster.log().join("\n")).toContain("waited for what virtual time does not move");
  });

  test("sees virtual time and chance, its own variables, its config, and no network", async () => {
    const look = async (): Promise<unknown> => (await openMeter()).slice(meter).look({});
    const first = await look();
    expect(first).toEqual({
      random: expect.any(Number) as number, year: 2023, variables: ["GREETING"], config: "given",
    });
    expect(await look()).toEqual(first);
    expect(await (await openMeter()).slice(meter).reach({})).toEqual({ code: "E_UNAVAILABLE" });
  });

  test("has a module of its own in each instance", async () => {
    const cluster = await openMeter(3);
    const counts = new Set<number>();
    for (const via of cluster.nodes) counts.add((await cluster.slice(meter, { via }).count({})).count);
    // Each node has one instance and prefers it.
    expect([...counts]).toEqual([1]);
  });

  test.each(["throw", "exit"] as const)("an instance that ends by %s is lost, and started again", async (how) => {
    const cluster = await openMeter();
    const { count, end } = cluster.slice(meter);
    expect(await count({})).toEqual({ count: 1 });
    await expect(end({ how })).rejects.toMatchObject({ outcome: "unknown" });
    const isBack = async (): Promise<boolean> => {
      return (await cluster.instances("meter")).every(({ state }) => state === "ACTIVE");
    };
    await cluster.until(isBack, 60_000);
    expect(await count({})).toEqual({ count: 1 });
    expect(cluster.log().join("\n")).toContain(how === "exit" ? "exit code 3" : "nobody catches this");
  });

  test("what it says is in the log of the cluster", async () => {
    const cluster = await openMeter();
    await cluster.slice(meter).say({ text: "a word" });
    await cluster.advance(10);
    const log = cluster.log().join("\n");
    expect(log).toContain("said a word");
    expect(log).toContain("heard");
  });

  test("a directory that is no package is refused", async () => {
    const building = buildSlices([new URL("./slices/gone", import.meta.url)]);
    await expect(building).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });
});
