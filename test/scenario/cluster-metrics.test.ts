// Metrics of whole simulated nodes: what they say of calls and jobs, through the death of a leader, and that they cost
// the store nothing.
import { expect, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import type { KeyText } from "../../src/kvstore/core/key.ts";
import type { ClusterMetrics } from "../../src/metrics/cluster-metrics.ts";
import { defineAgent, defineContract, defineSignal, defineSlice, method } from "../../src/sdk/index.ts";
import { inlineSlice, type TestCluster } from "../../src/testkit/index.ts";
import { openTestCluster } from "../../src/testkit/create-test-cluster.ts";
import { storeWith } from "../../src/testkit/node-seams.ts";

const shop = defineContract("shop", {
  buy: method({ input: z.object({ fails: z.boolean() }), output: z.object({}) }),
});
const documents = defineSignal("documents", z.object({}));
const claims = defineAgent({
  name: "claims",
  input: z.object({}),
  output: z.object({}),
  signals: [documents],
  run: async (job) => {
    await job.step("load", () => 1);
    await job.waitFor(documents, { timeout: "7 days" });
    return {};
  },
});

interface Watched {
  readonly cluster: TestCluster;
  metrics(node: string): ClusterMetrics;
  /** Keys that anything above the store has written since. */
  readonly written: KeyText[];
  transactions: number;
}

async function openWatched(seed: number): Promise<Watched> {
  const written: KeyText[] = [];
  let metrics: ((node: string) => ClusterMetrics) | undefined;
  const watched = { written, transactions: 0 };
  const cluster = await openTestCluster({
    seed,
    time: "virtual",
    slices: [
      inlineSlice({ artifact: "test:claims:1.0.0", create: () => claims }),
      inlineSlice({
        artifact: "test:shop:1.0.0",
        create: ({ sleep }) => defineSlice({
          contract: shop,
          methods: {
            buy: async ({ fails }) => {
              await sleep(100);
              if (fails) throw new RangeError("not today");
              return {};
            },
          },
        }),
      }),
    ],
    blueprint: {
      name: "all",
      slices: {
        claims: { artifact: "test:claims:1.0.0" },
        shop: { artifact: "test:shop:1.0.0", instances: 2 },
      },
    },
  }, {
    parts: (parts) => (metrics = (node) => parts.metrics(node)),
    kv: (kv) => storeWith(kv, (txn, go) => {
      watched.transactions += 1;
      for (const op of [...txn.then, ...txn.else]) if (op.kind !== "get") written.push(op.key);
      return go(txn);
    }),
  });
  return Object.assign(watched, { cluster, metrics: present(metrics, "the parts were told") });
}

test("every node has the rates, errors and durations of calls in both directions, and the instances", async () => {
  const { cluster, metrics } = await openWatched(3);
  await using _ = cluster;
  await cluster.advance(5_000);
  const caller = cluster.slice(shop, { via: "n2" });
  for (let second = 0; second < 3; second++) {
    const calls = Array.from({ length: 10 }, (_none, at) => caller.buy({ fails: at === 0 }));
    await cluster.advance(1_000);
    await Promise.allSettled(calls);
  }
  await cluster.advance(2_000);
  for (const node of cluster.nodes) {
    const at = metrics(node);
    for (const direction of ["made", "handled"]) {
      const series = (name: string): number | undefined =>
        at.over(`method/shop/buy/${direction}/${name}`, 10_000, "max");
      expect(series("callsPerSecond")).toBeGreaterThan(5);
      expect(series("errorsPerSecond")).toBeGreaterThan(0.5);
      expect(series("p50Ms")).toBeGreaterThan(90);
      expect(series("p50Ms")).toBeLessThan(150);
    }
    expect(at.over("slice/shop/instances", 10_000, "last")).toBe(2);
    expect(at.latest()?.snapshot.instances.map(({ slice }) => slice).sort()).toEqual(["claims", "shop", "shop"]);
  }
});

test("every node knows how many jobs wait and for what, also one that starts when they do already", async () => {
  const { cluster, metrics } = await openWatched(4);
  await using _ = cluster;
  const agent = cluster.agent(claims);
  const jobs = [await agent.start({}), await agent.start({}), await agent.start({})];
  const waiting = (node: string): number | undefined => metrics(node).latest()?.cluster.jobsWaitingSignal;
  await cluster.until(() => cluster.nodes.every((node) => waiting(node) === 3));
  expect(metrics("n1").over("cluster/stepsPerSecond", 60_000, "max")).toBeGreaterThan(0);
  cluster.kill("n3");
  await cluster.start("n3");
  await cluster.until(() => metrics("n3").own()?.facts.jobsWaitingSignal === 3);
  await present(jobs[0], "it was started").signal(documents, {});
  await cluster.until(() => cluster.nodes.every((node) => waiting(node) === 2));
  expect(metrics("n2").over("cluster/jobsEndedPerSecond", 60_000, "max")).toBeGreaterThan(0);
});

test("the death of the leader costs no window, its node is stale, and the next leader goes on", async () => {
  const { cluster, metrics } = await openWatched(5);
  await using _ = cluster;
  await cluster.advance(60_000);
  const dead = present(cluster.leader(), "it has formed");
  const other = present(cluster.nodes.find((node) => node !== dead), "there are three");
  const epoch = metrics(other).latest()?.snapshot.epoch ?? 0;
  cluster.kill(dead);
  await cluster.until(() => (metrics(other).latest()?.snapshot.epoch ?? 0) > epoch);
  const told = present(metrics(other).latest(), "it came").snapshot;
  expect(told.nodes.find(({ node }) => node === dead)).toMatchObject({ isStale: true });
  await cluster.advance(3_000);
  expect(metrics(other).latest()?.isStale).toBe(false);
  const points = metrics(other).history("cluster/slotsPerSecond", 600_000);
  expect(points.length).toBeGreaterThan(55);
});

test("minutes of metrics write nothing to the store: the leader beats, and that is all (M3)", async () => {
  const watched = await openWatched(6);
  await using _ = watched.cluster;
  await watched.cluster.advance(30_000);
  const snapshotsBefore = watched.metrics("n1").latest()?.snapshot.seq ?? 0;
  watched.written.length = 0;
  watched.transactions = 0;
  await watched.cluster.advance(180_000);
  const snapshots = (watched.metrics("n1").latest()?.snapshot.seq ?? 0) - snapshotsBefore;
  expect(snapshots).toBeGreaterThanOrEqual(175);
  const kinds = new Set(watched.written.map((key) => key.split("/", 1)[0]));
  expect([...kinds]).toEqual(["leader"]);
  const beats = watched.written.filter((key) => key === "leader/beat").length;
  expect(beats).toBeLessThanOrEqual(185);
  expect(watched.transactions).toBe(watched.written.length);
});
