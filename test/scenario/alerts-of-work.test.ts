// Alerts of slices, calls, jobs and the store, on simulated nodes: each fault makes its alert fire.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import { parseNodeId } from "../../src/base/ids.ts";
import { KiB, MiB } from "../../src/base/units.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { KvStore } from "../../src/kvstore/kv-store.ts";
import { defineAgent, defineContract, defineSignal, defineSlice, defineTool, method } from "../../src/sdk/index.ts";
import { openTestCluster, type TestClusterOptions } from "../../src/testkit/create-test-cluster.ts";
import { inlineSlice, type TestCluster } from "../../src/testkit/index.ts";
import type { ClusterParts, NodeSeams } from "../../src/testkit/node-seams.ts";

interface Watched {
  readonly cluster: TestCluster;
  readonly parts: ClusterParts;
  /** `job-waits cluster`, as a node lists them. */
  firing(node: string): readonly string[];
  /** Lets time pass until it fires on the node. */
  fires(alert: string, node?: string): Promise<void>;
  ends(alert: string, node?: string): Promise<void>;
}

const LONG_MS = 900_000;

async function open(
  options: Pick<TestClusterOptions, "slices" | "blueprint" | "labels">, seams: NodeSeams = {},
): Promise<Watched> {
  let parts: ClusterParts | undefined;
  const cluster = await openTestCluster(
    { seed: 1, time: "virtual", ...options }, { ...seams, parts: (given) => (parts = given) },
  );
  onTestFinished(() => cluster.close());
  const known = present(parts, "told before any node boots");
  const firing = (node: string): readonly string[] =>
    known.alerts(node).list({ state: "firing" }).alerts.map(({ alert, subject }) => `${alert} ${subject}`);
  return {
    cluster,
    parts: known,
    firing,
    fires: (alert, node = "n1") => cluster.until(() => firing(node).includes(alert), LONG_MS),
    ends: (alert, node = "n1") => cluster.until(() => !firing(node).includes(alert), LONG_MS),
  };
}

const echo = defineContract("echo", {
  say: method({ input: z.object({}), output: z.object({}), effect: "read", timeoutMs: 30_000 }),
});
const ECHO = inlineSlice({
  artifact: "test:echo:1.0.0",
  create: ({ sleep }) => defineSlice({
    contract: echo,
    methods: {
      say: async () => {
        await sleep(1_000);
        return {};
      },
    },
  }),
});
const ECHO_BLUEPRINT = { name: "all", slices: { echo: { artifact: "test:echo:1.0.0", instances: 1 } } };

/** The stores of the nodes, as what is above them sees them. */
function keepStores(stores: Map<string, KvStore>): NonNullable<NodeSeams["kv"]> {
  return (kv, { node }) => {
    stores.set(node, kv);
    return kv;
  };
}

test("a store that is nearly full", async () => {
  const stores = new Map<string, KvStore>();
  const watched = await open({ slices: [ECHO], blueprint: ECHO_BLUEPRINT }, { kv: keepStores(stores) });
  const store = present(stores.get("n1"), "a node has one");
  const done = async (work: Promise<unknown>): Promise<void> => {
    let isDone = false;
    void work.then(() => (isDone = true));
    await watched.cluster.until(() => isDone);
  };
  await done(store.setQuota(MiB));
  for (const name of ["a", "b"]) {
    const key = formatKey({ kind: "data", path: name });
    await done(store.transact({ compare: [], then: [{ kind: "put", key, value: "x".repeat(450 * KiB) }], else: [] }));
  }
  await watched.fires("store-full cluster");
  await done(store.setQuota(2 * MiB));
  await watched.ends("store-full cluster");
});

test("a clock that is off", async () => {
  const watched = await open({ slices: [ECHO], blueprint: ECHO_BLUEPRINT });
  const wrong = present(watched.parts.machines.find(({ node }) => node === "n2"), "it is there");
  wrong.hardwareClock.jumpWall(60_000);
  await watched.fires("clock-off node/n2");
  expect(watched.firing("n3")).toEqual(["clock-off node/n2"]);
  wrong.hardwareClock.jumpWall(-60_000);
  await watched.ends("clock-off node/n2");
});

test("a node that falls behind", async () => {
  const stores = new Map<string, KvStore>();
  const watched = await open({ slices: [ECHO], blueprint: ECHO_BLUEPRINT }, {
    kv: keepStores(stores),
    alerts: { rules: { "node-behind": { threshold: 5, forMs: 5_000 } } },
  });
  const { cluster, parts: { network } } = watched;
  const far = parseNodeId(present(cluster.nodes.find((node) => node !== cluster.leader()), "there are three"));
  const others = cluster.nodes.filter((node) => node !== far).map(parseNodeId);
  const [other = far] = others;
  for (const node of others) network.slow(node, far, 3_000);
  const key = formatKey({ kind: "data", path: "busy" });
  const writes: Promise<unknown>[] = [];
  for (let at = 0; at < 200 && !watched.firing(other).includes(`node-behind node/${far}`); at++) {
    const txn = { compare: [], then: [{ kind: "put", key, value: at }], else: [] } as const;
    writes.push(present(stores.get(other), "it runs").transact(txn));
    await cluster.advance(200);
  }
  expect(watched.firing(other)).toContain(`node-behind node/${far}`);
  network.calm();
  await watched.ends(`node-behind node/${far}`, other);
  await Promise.all(writes);
});

test("calls for which there is no room", async () => {
  const watched = await open({ slices: [ECHO], blueprint: ECHO_BLUEPRINT });
  const { say } = watched.cluster.slice(echo, { via: "n1" });
  const calls: Promise<unknown>[] = [];
  for (let second = 0; second < 25 && !watched.firing("n2").includes("calls-refused cluster"); second++) {
    for (let call = 0; call < 300; call++) calls.push(say({}));
    await watched.cluster.advance(1_000);
  }
  expect(watched.firing("n2")).toContain("calls-refused cluster");
  void Promise.allSettled(calls);
});

test("instances that fail again and again, and a slice of which fewer serve than have to", async () => {
  let fails = false;
  const flaky = inlineSlice({
    artifact: "test:echo:1.0.0",
    create: () => {
      if (fails) throw new RangeError("not today");
      return defineSlice({ contract: echo, methods: { say: () => Promise.resolve({}) } });
    },
  });
  const watched = await open({ slices: [flaky], blueprint: ECHO_BLUEPRINT });
  fails = true;
  const [{ node = "n1" } = {}] = await watched.cluster.instances("echo");
  const others = watched.cluster.nodes.filter((one) => one !== node);
  const [via = "n1"] = others;
  watched.cluster.kill(node);
  await watched.fires("slice-below-min slice/echo", via);
  await watched.fires("slice-crash-loop slice/echo", via);
  fails = false;
  await watched.ends("slice-below-min slice/echo", via);
  await watched.ends("slice-crash-loop slice/echo", via);
});

const pay = defineTool({
  name: "pay", input: z.string(), output: z.string(), effect: "once",
  execute: () => Promise.reject(new RangeError("the test plays it")),
});
const never = defineSignal("never", z.object({}));
let first = "load";
const payer = defineAgent({
  name: "payer", input: z.enum(["pay", "ask", "wait"]), output: z.string(), tools: { pay }, signals: [never],
  run: async (job, what) => {
    await job.step(first, () => undefined);
    if (what === "pay") return await job.tools.pay("o-1");
    if (what === "ask") await job.approve("manager", { summary: "May it?", timeout: "30 days" });
    await job.waitFor(never, { timeout: "30 days" });
    return "done";
  },
});
const PAYER = inlineSlice({ artifact: "test:payer:1.0.0", create: () => payer });

test("jobs that wait for people: a call of which nobody knows what became of it, and a decision", async () => {
  const watched = await open({
    slices: [PAYER], blueprint: { name: "all", slices: { payer: { artifact: "test:payer:1.0.0" } } },
  });
  const { cluster } = watched;
  cluster.mockTool(pay, (_input, { loseAnswer }) => loseAnswer("lost"));
  const agent = cluster.agent(payer);
  const asking = await agent.start("ask");
  const paying = await agent.start("pay");
  await cluster.until(async () => (await asking.status()).waiting?.reason === "approval");
  await cluster.until(async () => (await paying.status()).waiting?.reason === "unknown", 120_000);
  await cluster.skip("9 minutes");
  expect(watched.firing("n1")).toEqual([]);
  await cluster.skip("2 minutes");
  await watched.fires("effect-unknown cluster");
  expect(watched.firing("n3")).toEqual(["effect-unknown cluster"]);
  await cluster.skip("50 minutes");
  await watched.fires("approval-waits cluster");
  await asking.approve("manager");
  await watched.ends("approval-waits cluster");
  await paying.cancel();
});

test("jobs that no node runs, and jobs whose code cannot go on", async () => {
  const watched = await open({
    slices: [PAYER, ECHO],
    labels: { n3: { zone: "b" } },
    blueprint: { name: "all", slices: { payer: { artifact: "test:payer:1.0.0", labels: { zone: "b" } } } },
  });
  const { cluster } = watched;
  const job = await cluster.agent(payer).start("wait");
  await cluster.until(async () => (await job.status()).waiting?.reason === "signal");
  cluster.kill("n3");
  // Somebody tells it, and nobody is there to run it.
  await job.signal(never, {});
  await watched.fires("job-waits cluster");
  first = "fetch";
  onTestFinished(() => void (first = "load"));
  await cluster.start("n3");
  await watched.fires("jobs-stuck cluster");
  await watched.ends("job-waits cluster");
  await job.cancel();
  await watched.ends("jobs-stuck cluster");
});
