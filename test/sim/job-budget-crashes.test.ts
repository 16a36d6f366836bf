// Budgets of jobs whose nodes die before and after every transaction: of grants, outcomes and raises.
import { expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { defineAgent, defineTool, scripted } from "../../src/sdk/index.ts";
import { inlineSlice } from "../../src/testkit/inline-slice.ts";
import { crashEverywhere, type TestBudget, type TestCluster, type TestJob } from "../../src/testkit/index.ts";

const nobody = (): never => {
  throw new Error("the test plays the other side");
};
const ship = defineTool({
  name: "ship", input: z.object({ order: z.string() }), output: z.object({ parcel: z.string() }), effect: "once",
  cost: { usd: 0.4 }, timeoutMs: 2_000, settleMs: 2_000, execute: nobody, reconcile: nobody,
});
const mail = defineTool({
  name: "mail", input: z.object({ to: z.string() }), output: z.object({}), effect: "idempotent", cost: { usd: 0.25 },
  execute: nobody,
});

function playOutside(cluster: TestCluster): void {
  cluster.mockTool(ship, ({ order }) => ({ parcel: `p-${order}` }));
  cluster.mockTool(mail, () => ({}), { honoursEffectIds: true });
}

/** Raises the budget whenever the job waits for it, until it has ended; gives what it has come to. */
async function payFor(
  { cluster, job }: { readonly cluster: TestCluster; readonly job: TestJob }, add: { readonly usd: number },
): Promise<TestBudget | undefined> {
  for (let raises = 0; ;) {
    const { status, waiting, budget } = await job.status();
    if (budget !== undefined) {
      const { limit, reserved, spent } = budget;
      expect((reserved.usd ?? 0) + (spent.usd ?? 0)).toBeLessThanOrEqual((limit.usd ?? 0) + 1e-9);
    }
    if (status === "completed" || status === "failed") return budget;
    if (waiting?.reason === "budget") {
      raises += 1;
      await orEnded(job.raiseBudget(add, { idempotencyKey: `raise ${raises}` }));
    }
    await cluster.advance(100);
  }
}

/** Sent again because its answer was lost, it may come to a job that has used it and ended. */
async function orEnded(told: Promise<void>): Promise<void> {
  try {
    await told;
  } catch (error) {
    if (!(error instanceof AetherError) || error.code !== "E_CONFLICT") throw error;
  }
}

test("a job has spent what its calls cost, each once, wherever its nodes die", async () => {
  const paying = defineAgent({
    name: "paying", input: z.object({ order: z.string() }), output: z.object({ parcels: z.int() }),
    tools: { ship, mail }, budget: { usd: 0.7, steps: 2 },
    run: async (job, { order }) => {
      await job.step("load", () => 1);
      await job.tools.ship({ order });
      await job.all({
        mail: (branch) => branch.tools.mail({ to: "ada" }),
        step: (branch) => branch.step("note", () => 2),
      });
      await job.tools.ship({ order: `${order}b` });
      return { parcels: 2 };
    },
  });
  const ends: (TestBudget | undefined)[] = [];
  const report = await crashEverywhere(paying, {
    input: { order: "o-1" }, outside: playOutside,
    script: async (run) => void ends.push(await payFor(run, { usd: 0.5 })),
  });
  expect(report, report.message).toMatchObject({ repeated: [], lost: [], otherEnds: [] });
  expect(report.points).toBeGreaterThanOrEqual(8);
  expect(ends).toHaveLength(report.crashes + 1);
  for (const end of ends) {
    expect(end).toEqual({ limit: { usd: 1.2, steps: 2 }, reserved: {}, spent: { usd: 1.05, steps: 2 } });
  }
});

test("a model that is asked again because its node died has been paid twice", async () => {
  const asking = defineAgent({
    name: "asking", input: z.object({}), output: z.object({ said: z.string() }), budget: { usd: 1, tokens: 100_000 },
    models: {
      judge: scripted([{ text: "yes", usage: { inputTokens: 100, outputTokens: 100 } }], {
        price: { inputPerMillion: 1_000, outputPerMillion: 2_000 }, maxTokens: 200,
      }),
    },
    run: async (job) => ({ said: (await job.llm("judge", { prompt: "ok?" })).text }),
  });
  const ends: (TestBudget | undefined)[] = [];
  const report = await crashEverywhere(asking, {
    input: {}, script: async (run) => void ends.push(await payFor(run, { usd: 1 })),
  });
  expect(report, report.message).toMatchObject({ repeated: [], lost: [], otherEnds: [] });
  expect(ends[0]).toMatchObject({ reserved: {}, spent: { usd: 0.3, tokens: 200 } });
  // What was reserved for the attempt that was lost: 200 tokens to say, and what it was asked.
  const again = ends.filter((end) => (end?.spent.usd ?? 0) > 0.3);
  expect(again.length).toBeGreaterThan(0);
  for (const end of again) expect(end?.spent.usd).toBeGreaterThan(0.7);
  for (const end of ends) expect(end?.reserved).toEqual({});
});

test("children draw from their parent's budget and give back what they have not spent", async () => {
  const child = defineAgent({
    name: "packing", input: z.object({ order: z.string() }), output: z.object({}), tools: { mail },
    run: async (job, { order }) => {
      await job.step("load", () => 1);
      await job.tools.mail({ to: order });
      return {};
    },
  });
  const parent = defineAgent({
    name: "sending", input: z.object({}), output: z.object({}), tools: { mail }, budget: { usd: 0.6 },
    run: async (job) => {
      await job.all({
        a: (branch) => branch.child(child, { order: "a" }, { budget: { usd: 0.3 } }),
        b: (branch) => branch.child(child, { order: "b" }),
      });
      await job.tools.mail({ to: "ada" });
      return {};
    },
  });
  const slices = [parent, child].map((agent) =>
    inlineSlice({ artifact: `test:${agent.name}:1.0.0`, create: () => agent }));
  const ends: (TestBudget | undefined)[] = [];
  const report = await crashEverywhere(parent, {
    input: {}, outside: playOutside, slices,
    blueprint: {
      name: "agents",
      slices: { sending: { artifact: "test:sending:1.0.0" }, packing: { artifact: "test:packing:1.0.0" } },
    },
    script: async (run) => void ends.push(await payFor(run, { usd: 0.5 })),
  });
  expect(report, report.message).toMatchObject({ repeated: [], lost: [], otherEnds: [] });
  // What is not limited is counted too: each child has a step.
  for (const end of ends) expect(end).toEqual({ limit: { usd: 1.1 }, reserved: {}, spent: { usd: 0.75, steps: 2 } });
});
