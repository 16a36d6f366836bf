// Crashes before and after every transaction of a job: of an agent that is right, and of two that are wrong.
import { expect, test } from "vitest";
import { z } from "zod";
import { defineAgent, defineSignal, defineTool, scripted } from "../../src/sdk/index.ts";
import {
  crashEverywhere, inlineSlice, type AnyAgent, type CrashEverywhereOptions, type CrashReport, type TestCluster,
  type TestJob,
} from "../../src/testkit/index.ts";

const nobody = (): never => {
  throw new Error("the test plays the other side");
};
const order = z.object({ order: z.string() });
const refund = defineTool({
  name: "refund", input: order, output: z.object({ refund: z.string() }), effect: "once",
  timeoutMs: 2_000, settleMs: 2_000, execute: nobody, reconcile: nobody,
});
const mail = defineTool({
  name: "mail", input: z.object({ to: z.string() }), output: z.object({}), effect: "idempotent", execute: nobody,
});
const go = defineSignal("go", z.object({ to: z.string() }));

function playBoth(cluster: TestCluster, honoursEffectIds: boolean): void {
  cluster.mockTool(refund, ({ order }) => ({ refund: `re-${order}` }));
  cluster.mockTool(mail, () => ({}), { honoursEffectIds });
}

const right = defineAgent({
  name: "right", input: order, output: z.object({ refund: z.string() }), tools: { refund, mail }, signals: [go],
  run: async (job, { order }) => {
    await job.step("load", () => 1);
    await job.sleep("rest", "6 s");
    const told = await job.waitFor(go);
    const { refund } = await job.tools.refund({ order });
    await job.tools.mail({ to: told?.to ?? "" });
    return { refund };
  },
});

test("a right agent has each effect once, wherever its nodes die", async () => {
  const report = await crashEverywhere(right, {
    input: { order: "o-1" },
    outside: (cluster) => playBoth(cluster, true),
    script: ({ job }) => job.signal(go, { to: "ada" }),
  });
  expect(report, report.message).toMatchObject({ repeated: [], lost: [], otherEnds: [] });
  expect(report.points).toBeGreaterThanOrEqual(8);
  expect(report.crashes).toBe(4 * report.points);
  expect(report.message).toContain("no effect is repeated, none is lost");
});

test("what a model has said decides, wherever its nodes die", async () => {
  const asking = defineAgent({
    name: "asking", input: order, output: z.object({ refund: z.string() }), tools: { refund },
    // The first answer is of another form, and is sent back.
    models: { judge: scripted(["yes", { json: { refund: true } }]) },
    run: async (job, { order }) => {
      const { output } = await job.llm("judge", { prompt: order, output: z.object({ refund: z.boolean() }) });
      return output.refund ? await job.tools.refund({ order }) : { refund: "none" };
    },
  });
  const report = await crashEverywhere(asking, {
    input: { order: "o-1" }, outside: (cluster) => playBoth(cluster, false),
  });
  expect(report, report.message).toMatchObject({ repeated: [], lost: [], otherEnds: [] });
  expect(report.points).toBeGreaterThanOrEqual(5);
});

const dear = defineTool({
  name: "dear", input: order, output: z.object({ refund: z.string() }), effect: "once", cost: { usd: 0.4 },
  timeoutMs: 2_000, settleMs: 2_000, execute: nobody, reconcile: nobody,
});
const part = defineAgent({
  name: "part", input: order, output: z.object({ refund: z.string() }), tools: { dear },
  run: async (job, { order }) => {
    await job.step("look", () => 1);
    return await job.tools.dear({ order: `${order}-part` });
  },
});

/** Two runs, a decision, a child that spends of its budget, and a call that its budget does not suffice for. */
const bookkeeper = defineAgent({
  name: "bookkeeper", input: order.extend({ run: z.int().default(1) }),
  output: z.object({ refunds: z.array(z.string()) }),
  tools: { dear, mail }, budget: { usd: 1 },
  run: async (job, { order, run }) => {
    if (run === 1) {
      const { approved } = await job.approve("go on", { summary: `May ${order} be refunded?` });
      if (!approved) return { refunds: [] };
      await job.tools.mail({ to: "ada" });
      return await job.continueAs({ order, run: 2 });
    }
    const own = await job.tools.dear({ order });
    const { refund } = await job.child(part, { order }, { budget: { usd: 0.5 } });
    const last = await job.tools.dear({ order: `${order}-last` });
    return { refunds: [own.refund, refund, last.refund] };
  },
});

function playDear(cluster: TestCluster): void {
  cluster.mockTool(dear, ({ order }) => ({ refund: `re-${order}` }));
  cluster.mockTool(mail, () => ({}), { honoursEffectIds: true });
}

/** Somebody says yes, and lets it spend more once it needs that. */
async function attend({ cluster, job }: { readonly cluster: TestCluster; readonly job: TestJob }): Promise<void> {
  await job.approve("go on", { limitMs: 60_000 });
  await cluster.until(async () => (await job.status()).waiting?.reason === "budget", 60_000);
  await job.raiseBudget({ usd: 1 });
}

function slicesOf(agents: readonly AnyAgent[]): Pick<CrashEverywhereOptions<AnyAgent>, "slices" | "blueprint"> {
  const named = agents.map((agent) => [agent, `test:${agent.name}:1.0.0`] as const);
  const slices = Object.fromEntries(named.map(([{ name }, artifact]) => [name, { artifact }]));
  return {
    slices: named.map(([agent, artifact]) => inlineSlice({ artifact, create: () => agent })),
    blueprint: { name: "agents", slices },
  };
}

test("runs, decisions, children and budgets: each effect comes about once, wherever its nodes die", async () => {
  const report = await crashEverywhere(bookkeeper, {
    input: { order: "o-1" }, outside: playDear, script: attend, ...slicesOf([bookkeeper, part]),
  });
  expect(report, report.message).toMatchObject({ repeated: [], lost: [], otherEnds: [] });
  expect(report.points).toBeGreaterThanOrEqual(15);
});

test("what a later run does beside its steps is found", async () => {
  let sent: string[] = [];
  const wrong = defineAgent({
    name: "wrong-run", input: z.object({ run: z.int() }), output: z.object({}),
    run: async (job, { run }) => {
      if (run === 1) return await job.continueAs({ run: 2 });
      sent.push("letter");
      await job.step("note", () => 1);
      return {};
    },
  });
  const report = await crashEverywhere(wrong, {
    input: { run: 1 }, nodes: 1, victims: ["owner"],
    outside: () => {
      sent = [];
      return () => sent;
    },
  });
  expect(effectsOf(report)).toEqual(["letter"]);
  expect(report).toMatchObject({ lost: [], otherEnds: [] });
});

test("a tool that is called idempotent and is not is found", async () => {
  const wrong = defineAgent({
    name: "wrong-tool", input: order, output: z.object({}), tools: { mail },
    run: async (job) => await job.tools.mail({ to: "ada" }),
  });
  const report = await crashEverywhere(wrong, {
    input: { order: "o" }, outside: (cluster) => playBoth(cluster, false),
  });
  expect(report.repeated[0]).toMatchObject({ effect: 'mail {"to":"ada"}', times: 2, expected: 1, when: "before" });
  expect(report.message).toMatch(/mail \{"to":"ada"\} happened 2 times instead of 1 when its node died before point \d/);
  expect(report.lost).toEqual([]);
});

test("an effect that is no tool is found", async () => {
  let sent: string[] = [];
  const wrong = defineAgent({
    name: "wrong-code", input: order, output: z.object({}),
    run: async (job, { order }) => {
      await job.step("load", () => 1);
      sent.push(`letter about ${order}`);
      await job.step("note", () => 2);
      return {};
    },
  });
  const report = await crashEverywhere(wrong, {
    input: { order: "o-1" },
    outside: () => {
      sent = [];
      return () => sent;
    },
  });
  expect(effectsOf(report)).toEqual(["letter about o-1"]);
  expect(report).toMatchObject({ lost: [], otherEnds: [] });
});

test("equal seeds give equal reports", async () => {
  const small = defineAgent({
    name: "small", input: order, output: z.object({}), tools: { mail },
    run: async (job) => await job.tools.mail({ to: "ada" }),
  });
  const run = (): Promise<CrashReport> => crashEverywhere(small, {
    input: { order: "o" }, seed: 5, nodes: 1, outside: (cluster) => playBoth(cluster, false),
  });
  expect(await run()).toEqual(await run());
});

function effectsOf({ repeated }: CrashReport): readonly string[] {
  return [...new Set(repeated.map(({ effect }) => effect))];
}
