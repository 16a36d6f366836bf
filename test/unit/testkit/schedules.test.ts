// A slice's schedule on a cluster: once per tick, over the death of leaders and of the node that runs the handler.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { defineContract, defineSlice, method } from "../../../src/sdk/index.ts";
import { createTestCluster, inlineSlice } from "../../../src/testkit/index.ts";

const MINUTE_MS = 60_000;

const books = defineContract("books", {
  close: method({ input: z.object({}), output: z.object({}) }),
});

test("each minute once, whichever node leads", async () => {
  const keys: (string | undefined)[] = [];
  const slice = inlineSlice({
    artifact: "test:books:1.0.0",
    create: ({ sleep }) => defineSlice({
      contract: books,
      schedules: { minutely: { cron: "* * * * *", method: "close", timeZone: "Europe/Berlin" } },
      methods: {
        close: async (_input, ctx) => {
          keys.push(ctx.idempotencyKey);
          await sleep(200);
          return {};
        },
      },
    }),
  });
  const cluster = await createTestCluster({
    nodes: 3, seed: 11, time: "virtual", slices: [slice],
    blueprint: { name: "all", slices: { books: { artifact: "test:books:1.0.0", instances: 3 } } },
  });
  onTestFinished(() => cluster.close());
  await cluster.advance(2 * MINUTE_MS + 5_000);
  expect(keys).toHaveLength(2);
  const leader = cluster.leader() ?? "";
  cluster.kill(leader);
  await cluster.advance(2 * MINUTE_MS);
  await cluster.start(leader);
  await cluster.advance(2 * MINUTE_MS);
  expect(keys.length).toBeGreaterThanOrEqual(5);
  expect(new Set(keys).size).toBe(keys.length);
  expect(keys[0]).toMatch(/^schedule\/minutely\/\d{4}-\d\d-\d\dT\d\d:\d\d:00\.000Z$/);
});

test("while a canary is tried the ticks are those of the version before, and once it has all calls its own", {
  // Minutes of virtual time.
  timeout: 120_000,
}, async () => {
  const ticks: string[] = [];
  const sliceOf = (version: string, name: string) => inlineSlice({
    artifact: `test:books:${version}`,
    create: () => defineSlice({
      contract: books,
      schedules: { [name]: { cron: "* * * * *", method: "close" } },
      methods: {
        close: (_input, ctx) => {
          if (ctx.idempotencyKey !== undefined) ticks.push(ctx.idempotencyKey.split("/")[1] ?? "");
          return {};
        },
      },
    }),
  });
  const slices = (version: string) => ({
    books: {
      artifact: `test:books:${version}`,
      rollout: { strategy: "canary" as const, steps: [50, 100], stepMs: 1.25 * MINUTE_MS, minCalls: 1 },
    },
  });
  const cluster = await createTestCluster({
    nodes: 1, seed: 12, time: "virtual", slices: [sliceOf("1.0.0", "before"), sliceOf("1.1.0", "after")],
    blueprint: { name: "all", slices: slices("1.0.0") },
  });
  onTestFinished(() => cluster.close());
  // ignored: it waits for the end of the rollout only so long.
  void cluster.apply({ name: "all", slices: slices("1.1.0") }).catch(() => undefined);
  const runs = async (version: string): Promise<boolean> =>
    (await cluster.instances("books")).some(({ artifact, state }) => artifact.endsWith(version) && state === "ACTIVE");
  await cluster.until(() => runs("1.1.0"));
  await cluster.advance(MINUTE_MS);
  expect(ticks).toEqual(["before"]);
  // What a step is judged by.
  for (let calls = 0; calls < 10; calls += 1) await cluster.slice(books).close({});
  while (await runs("1.0.0")) await cluster.advance(5_000);
  const turned = ticks.length;
  await cluster.advance(MINUTE_MS);
  expect(ticks.slice(turned)).toEqual(["after"]);
});
