// Agents in a test cluster: jobs that wait, that are told, whose nodes die, whose tools' other sides a test plays.
import { expect, test } from "vitest";
import { z } from "zod";
import { defineAgent, defineSignal, defineTool, notDone } from "../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestCluster } from "../../src/testkit/index.ts";

const refund = defineTool({
  name: "refund",
  input: z.object({ order: z.string(), cents: z.int() }),
  output: z.object({ refund: z.string() }),
  effect: "once",
  execute: () => Promise.reject(notDone("no payments here")),
  reconcile: () => ({ status: "unknown" as const }),
});
const documents = defineSignal("documents", z.object({ url: z.string() }));
const claims = defineAgent({
  name: "claims",
  input: z.object({ order: z.string() }),
  output: z.object({ paid: z.boolean(), url: z.string().optional() }),
  tools: { refund },
  signals: [documents],
  run: async (job, { order }) => {
    const cents = await job.step("load", () => 1200);
    await job.sleep("cool down", "2 days");
    const found = await job.waitFor(documents, { timeout: "7 days" });
    if (found === undefined) return { paid: false };
    await job.tools.refund({ order, cents });
    return { paid: true, url: found.url };
  },
});

function openCluster(seed = 1): Promise<TestCluster> {
  return createTestCluster({
    seed,
    time: "virtual",
    slices: [inlineSlice({ artifact: "test:claims:1.0.0", create: () => claims })],
    blueprint: { name: "claims", slices: { claims: { artifact: "test:claims:1.0.0" } } },
  });
}

test("a job sleeps for days, is told, and calls a tool that the test plays, once", async () => {
  await using cluster = await openCluster();
  const payments = cluster.mockTool(refund, ({ order }) => ({ refund: `re-${order}` }));
  const job = await cluster.agent(claims).start({ order: "o-1" });
  await cluster.until(async () => (await job.status()).waiting?.reason === "timer");
  await cluster.skip("2 days");
  await cluster.until(async () => (await job.status()).waiting?.reason === "signal");
  await job.signal(documents, { url: "https://example.org/1" });
  expect(await job.result()).toEqual({ kind: "completed", output: { paid: true, url: "https://example.org/1" } });
  const { calls } = await job.status();
  expect(calls).toMatchObject([{ call: "refund#1", state: "succeeded", attempt: 1 }]);
  expect(payments.requests).toMatchObject([{ input: { order: "o-1", cents: 1200 }, state: "done", isRepeat: false }]);
  expect(payments.countOf(calls[0]?.effectId ?? "")).toBe(1);
  const types = (await job.events()).map(({ event }) => event.type);
  expect(types.at(0)).toBe("job.created");
  expect(types.at(-1)).toBe("job.completed");
});

test("time that is over ends a wait, and a cancel ends a job", async () => {
  await using cluster = await openCluster();
  const agent = cluster.agent(claims, { via: "n2" });
  const [late, cancelled] = [await agent.start({ order: "o-1" }), await agent.start({ order: "o-2" }, { id: "mine" })];
  await cluster.skip("2 days");
  await agent.job("mine").cancel();
  expect(await cancelled.result()).toEqual({ kind: "cancelled" });
  await cluster.until(async () => (await late.status()).waiting?.reason === "signal");
  await cluster.skip("8 days");
  expect(await late.result()).toEqual({ kind: "completed", output: { paid: false } });
});

test.each([1, 2, 3])("a refund whose node dies under it is not made twice (seed %i)", async (seed) => {
  await using cluster = await openCluster(seed);
  const payments = cluster.mockTool(refund, async ({ order }, { sleep }) => {
    await sleep(12_000);
    return { refund: `re-${order}` };
  });
  const job = await cluster.agent(claims).start({ order: "o-1" });
  await job.signal(documents, { url: "https://example.org/1" });
  await cluster.skip("2 days");
  await cluster.until(() => payments.requests.length > 0);
  const { node = "" } = await job.status();
  cluster.kill(node);
  expect(await job.result()).toMatchObject({ kind: "completed", output: { paid: true } });
  expect(payments.requests).toHaveLength(1);
  expect((await job.status()).epoch).toBeGreaterThan(1);
});

test("a refund of which nobody hears waits for its other side, and is done as that says", async () => {
  await using cluster = await openCluster();
  const payments = cluster.mockTool(refund, (_input, { loseAnswer }) => loseAnswer({ refund: "re-lost" }));
  const job = await cluster.agent(claims).start({ order: "o-1" });
  await job.signal(documents, { url: "https://example.org/1" });
  await cluster.skip("2 days");
  expect(await job.result()).toMatchObject({ kind: "completed" });
  expect(payments.requests).toHaveLength(1);
});

test("the same seed gives the same run, of jobs too", async () => {
  const run = async (): Promise<string> => {
    await using cluster = await openCluster(7);
    cluster.mockTool(refund, ({ order }) => ({ refund: `re-${order}` }));
    const job = await cluster.agent(claims).start({ order: "o-1" });
    await job.signal(documents, { url: "x" });
    await cluster.skip("2 days");
    await job.result();
    return cluster.traceHash;
  };
  expect(await run()).toBe(await run());
});
