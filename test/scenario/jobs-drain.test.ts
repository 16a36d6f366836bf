// A node that is drained while it runs jobs: what is under way ends there, and the rest is done on other nodes.
import { expect, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import { parseNodeId } from "../../src/base/ids.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { KvStore } from "../../src/kvstore/kv-store.ts";
import { defineAgent } from "../../src/sdk/index.ts";
import { openTestCluster } from "../../src/testkit/create-test-cluster.ts";
import { inlineSlice } from "../../src/testkit/inline-slice.ts";
import type { TestCluster } from "../../src/testkit/test-cluster.ts";
import type { TestJob } from "../../src/testkit/test-agents.ts";

const STEP_MS = 40_000;

test("a node that is drained ends the step under way, begins none, takes no job, and is drained then", async () => {
  let kv: KvStore | undefined;
  const begun: string[] = [];
  const agent = (sleep: (ms: number) => Promise<void>) => defineAgent({
    name: "slow", input: z.object({}), output: z.object({}),
    run: async (job) => {
      for (const name of ["one", "two"]) {
        await job.step(name, async () => {
          begun.push(`${job.id} ${name}`);
          await sleep(STEP_MS);
        });
      }
      return {};
    },
  });
  await using cluster = await openTestCluster({
    seed: 1, time: "virtual",
    slices: [inlineSlice({ artifact: "test:slow:1.0.0", create: ({ sleep }) => agent(sleep) })],
    blueprint: { name: "slow", slices: { slow: { artifact: "test:slow:1.0.0" } } },
  }, { kv: (store) => (kv = store) });
  const store = (): KvStore => present(kv, "a node is open");
  const want = async (node: string, wanted: "drained" | "on-duty"): Promise<void> => {
    const key = formatKey({ kind: "node-intent", node: parseNodeId(node) });
    const asked = store().transact({ compare: [], then: [{ kind: "put", key, value: { want: wanted } }], else: [] });
    let isAsked = false;
    void asked.then(() => (isAsked = true));
    await cluster.until(() => isAsked);
  };
  const dutyOf = async (node: string): Promise<string> => {
    const key = formatKey({ kind: "node-state", node: parseNodeId(node) });
    const { entry } = await store().get(key, { consistency: "local" });
    return (entry?.value as { readonly state: string }).state;
  };

  const slow = cluster.agent(agent(() => Promise.resolve()));
  const first = await slow.start({});
  await cluster.until(() => begun.length === 1);
  const node = present((await first.status()).node, "it runs");
  await want(node, "drained");
  await cluster.advance(5_000);
  expect([await dutyOf(node), (await first.status()).node]).toEqual(["draining", node]);
  const others = await Promise.all([slow.start({}), slow.start({}), slow.start({}, { id: "b" })]);
  await cluster.until(() => begun.length === 4);
  expect((await nodesOf(others)).filter((one) => one === node)).toEqual([]);

  await cluster.until(async () => await dutyOf(node) === "drained", STEP_MS);
  await cluster.until(() => begun.includes(`${first.id} two`));
  expect((await first.status()).node).not.toBe(node);
  for (const job of [first, ...others]) expect(await job.result()).toMatchObject({ kind: "completed" });
  expect(begun.toSorted()).toEqual([...new Set(begun)].toSorted());

  await want(node, "on-duty");
  await cluster.until(async () => await dutyOf(node) === "on-duty");
  await untilItTakesOne(cluster, node, () => slow.start({}));
});

async function nodesOf(jobs: readonly TestJob[]): Promise<readonly (string | undefined)[]> {
  return await Promise.all(jobs.map(async (job) => (await job.status()).node));
}

async function untilItTakesOne(cluster: TestCluster, node: string, start: () => Promise<TestJob>): Promise<void> {
  for (let tries = 0; tries < 20; tries += 1) {
    const job = await start();
    await cluster.until(async () => (await job.status()).node !== undefined);
    if ((await job.status()).node === node) return;
  }
  expect.fail(`${node} takes no job`);
}
