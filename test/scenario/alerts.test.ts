// Alerts on simulated nodes: each fault makes its alert fire on every node, and heals; what is well stays silent.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import { parseNodeId } from "../../src/base/ids.ts";
import { parseKeyText } from "../../src/kvstore/core/key.ts";
import type { KvStore } from "../../src/kvstore/kv-store.ts";
import type { AlertName } from "../../src/alerts/core/alert-rules.ts";
import { defineContract, defineSlice, method } from "../../src/sdk/index.ts";
import { openTestCluster } from "../../src/testkit/create-test-cluster.ts";
import { inlineSlice, type TestCluster } from "../../src/testkit/index.ts";
import { storeWith, type ClusterParts, type NodeSeams } from "../../src/testkit/node-seams.ts";

const shop = defineContract("shop", {
  buy: method({ input: z.object({ fails: z.boolean() }), output: z.object({}), effect: "read" }),
});
const SHOP = inlineSlice({
  artifact: "test:shop:1.0.0",
  create: ({ sleep }) => defineSlice({
    contract: shop,
    methods: {
      buy: async ({ fails }) => {
        await sleep(5);
        if (fails) throw new RangeError("not today");
        return {};
      },
    },
  }),
});

class Watched {
  readonly cluster: TestCluster;
  readonly parts: ClusterParts;

  constructor(cluster: TestCluster, parts: ClusterParts) {
    this.cluster = cluster;
    this.parts = parts;
  }

  static async open(seed: number, seams: NodeSeams = {}): Promise<Watched> {
    let parts: ClusterParts | undefined;
    const cluster = await openTestCluster({
      seed, time: "virtual", slices: [SHOP],
      blueprint: { name: "all", slices: { shop: { artifact: "test:shop:1.0.0", instances: 3 } } },
    }, { ...seams, parts: (given) => (parts = given) });
    onTestFinished(() => cluster.close());
    return new Watched(cluster, present(parts, "told before any node boots"));
  }

  get leader(): string {
    return present(this.cluster.leader(), "one leads");
  }

  get others(): readonly string[] {
    return this.cluster.nodes.filter((node) => node !== this.leader);
  }

  /** `node-missing node/n3`, as a node lists them. */
  firing(node: string): readonly string[] {
    const { alerts } = this.parts.alerts(node).list({ state: "firing" });
    return alerts.map(({ alert, subject }) => `${alert} ${subject}`).sort();
  }

  /** Lets time pass until exactly these fire on each of these nodes. */
  async untilFiring(alerts: readonly string[], nodes: readonly string[], limitMs = 180_000): Promise<void> {
    const wanted = [...alerts].sort().join(", ");
    await this.cluster.until(() => nodes.every((node) => this.firing(node).join(", ") === wanted), limitMs);
  }

  /** What a node has been told of alerts, as `id kind alert subject`. */
  told(node: string): readonly string[] {
    const { events } = this.parts.events(node).list({ areas: new Set(["alert"]) }, { limit: 1_000 });
    return events.map(({ id, kind, fields }) => `${id} ${kind} ${fields["alert"]} ${fields["subject"]}`);
  }

  /** Calls that succeed, or not, for so many seconds. */
  async load(seconds: number, of: { readonly perSecond: number; readonly fails?: number }): Promise<void> {
    const { buy } = this.cluster.slice(shop);
    for (let second = 0; second < seconds; second++) {
      const calls = Array.from({ length: of.perSecond }, (_, at) => buy({ fails: at < (of.fails ?? 0) }));
      await this.cluster.advance(1_000);
      await Promise.allSettled(calls);
    }
  }
}

const said = (lines: readonly string[], kind: string, alert: AlertName): readonly string[] =>
  lines.filter((line) => line.includes(` ${kind} ${alert} `));

test("nothing fires, nor is about to for long, in a cluster that works", async () => {
  const watched = await Watched.open(1);
  await watched.load(100, { perSecond: 5 });
  for (const node of watched.cluster.nodes) {
    expect(watched.parts.alerts(node).list().alerts).toEqual([]);
    expect(watched.told(node)).toEqual([]);
  }
});

test("a node that is missing is told on all others, once, over the death of the leader, until it is back", async () => {
  const watched = await Watched.open(2);
  const { cluster } = watched;
  const [missing = "n1", other = "n2"] = watched.others;
  cluster.kill(missing);
  const first = watched.leader;
  await watched.untilFiring([`node-missing node/${missing}`], [first, other]);
  expect(watched.told(other)).toEqual(watched.told(first));
  await cluster.start(missing);
  cluster.kill(first);
  await cluster.until(() => cluster.leader() !== undefined && cluster.leader() !== first);
  await watched.untilFiring([`node-missing node/${first}`], watched.cluster.nodes.filter((node) => node !== first));
  await cluster.start(first);
  await watched.untilFiring([], watched.cluster.nodes);
  for (const node of [missing, other]) {
    const lines = watched.told(node);
    expect(said(lines, "alert.fired", "node-missing").filter((line) => line.endsWith(`/${first}`))).toHaveLength(1);
    expect(said(lines, "alert.cleared", "node-missing").filter((line) => line.endsWith(`/${first}`))).toHaveLength(1);
  }
});

test("what stands is in no row, and who leads next goes on with it: nothing fires twice (L3, L4)", async () => {
  const written = new Set<string>();
  const watched = await Watched.open(3, {
    kv: (kv) => storeWith(kv, (txn, go) => {
      for (const op of [...txn.then, ...txn.else]) if (op.kind !== "get") written.add(op.key.split("/", 1)[0] ?? "");
      return go(txn);
    }),
    measured: ({ node }) => (node === "n3" ? { disk: { freeBytes: 5, totalBytes: 100 } } : {}),
  });
  const { cluster } = watched;
  written.clear();
  await watched.untilFiring(["disk-full node/n3"], cluster.nodes);
  expect([...written]).toEqual(["leader"]);
  const before = watched.told("n3");
  expect(before).toHaveLength(1);
  const dead = watched.leader === "n3" ? "n1" : watched.leader;
  cluster.kill(dead);
  const rest = cluster.nodes.filter((node) => node !== dead);
  await watched.untilFiring(["disk-full node/n3", `node-missing node/${dead}`], rest);
  for (const node of rest) expect(said(watched.told(node), "alert.fired", "disk-full")).toEqual(before);
});

test("a node that sees no majority says so itself, and the others do not", async () => {
  const watched = await Watched.open(4);
  const [lone = "n1"] = watched.others;
  const rest = watched.cluster.nodes.filter((node) => node !== lone);
  watched.cluster.partition(rest, [lone]);
  await watched.cluster.until(() => watched.firing(lone).includes(`no-quorum node/${lone}`), 60_000);
  for (const node of rest) expect(watched.firing(node)).not.toContain(`no-quorum node/${lone}`);
  watched.cluster.heal();
  await watched.untilFiring([], watched.cluster.nodes);
});

test("where the disks of a majority stand still nobody leads, and the nodes say so themselves", async () => {
  const watched = await Watched.open(8);
  const { cluster, leader, others } = watched;
  const slow = watched.parts.machines.filter(({ node }) => others.includes(node));
  for (const { disk } of slow) disk.slowness = 200_000;
  await cluster.until(() => watched.firing(leader).includes(`no-leader node/${leader}`), 120_000);
  expect(cluster.leader()).toBeUndefined();
  for (const { disk } of slow) disk.slowness = 1;
  await cluster.until(() => cluster.nodes.every((node) => watched.firing(node).length === 0), 3_600_000);
});

test("a node that hears nothing of consensus says that it is stuck, and the others that it is silent", async () => {
  const stores = new Map<string, KvStore>();
  const watched = await Watched.open(9, {
    kv: (kv, { node }) => {
      stores.set(node, kv);
      return kv;
    },
  });
  const { cluster, parts, leader, others: [stuck = "n3"] } = watched;
  parts.network.deafen(parseNodeId(stuck), "consensus");
  const put = { kind: "put", key: parseKeyText("data/a"), value: 1 } as const;
  const store = present(stores.get(stuck), "it runs");
  let isStored = false;
  const putting = store.transact({ compare: [], then: [put], else: [] }, { timeoutMs: 120_000 })
    .then(() => (isStored = true));
  const isTold = (): boolean =>
    watched.firing(stuck).includes(`apply-stalled node/${stuck}`) &&
    watched.firing(leader).join() === `node-silent node/${stuck}`;
  await cluster.until(isTold, 60_000);
  parts.network.calm();
  await cluster.until(() => isStored);
  await putting;
  await watched.untilFiring([], cluster.nodes);
});

test("calls that fail fire their alert, also where every other second has none, until they do not fail", async () => {
  const watched = await Watched.open(5);
  for (let call = 0; call < 30; call++) {
    await watched.load(1, { perSecond: 1, fails: 1 });
    await watched.load(1, { perSecond: 0 });
  }
  expect(watched.firing("n2")).toEqual(["calls-fail method/shop.buy"]);
  await watched.load(110, { perSecond: 4 });
  expect(watched.firing("n2")).toEqual([]);
});

test("a slow disk and an event loop that stands still are told of their node", async () => {
  let isStanding = false;
  const watched = await Watched.open(6, {
    measured: ({ node }) => (isStanding && node === "n2" ? { loopDelayMsMax: 3_000 } : {}),
  });
  const slow = present(watched.parts.machines.find(({ node }) => node === "n3"), "it is there");
  slow.disk.slowness = 400;
  isStanding = true;
  await watched.untilFiring(["disk-slow node/n3", "event-loop-stalled node/n2"], watched.cluster.nodes);
  slow.disk.slowness = 1;
  isStanding = false;
  await watched.untilFiring([], watched.cluster.nodes);
});
