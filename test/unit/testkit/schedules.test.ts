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
