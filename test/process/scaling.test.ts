// Slow. Real nodes under a real load: rules add instances on other nodes and take them away again, and no call fails.
import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { openAiStream, openLlmStub } from "../support/llm-stub.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applySlices, pushSlice, untilServed } from "./support/call-slices.ts";
import { SteadyCalls } from "./support/steady-calls.ts";

const COMMAND_MS_MAX = 60_000;
/** What a test waits for here takes seconds: windows, cooldowns and a new leader, on a busy machine. */
const SCALED_MS_MAX = 120_000;
const MAX = 3;

const SOON = { slice: "orders", window: "3s", for: "1s", cooldown: "2s" };
const BOUNDS = { orders: { min: 1, max: MAX, stepUp: 1, every: "2s", reverseAfter: "5s" } };
const RULES = {
  bounds: BOUNDS,
  rules: [
    { name: "up", when: "avg(calls_per_second) / instances > 10", do: { add: 1 }, ...SOON },
    { name: "down", when: "avg(calls_per_second) / instances < 6", do: { remove: 1 }, ...SOON },
  ],
};

const statusSchema = z.object({
  leader: z.string().nullable(),
  slices: z.array(z.object({ slice: z.string(), instances: z.number(), active: z.number() })),
  decisions: z.array(z.object({
    decision: z.object({ kind: z.string(), source: z.string(), code: z.string().optional(), reason: z.string() }),
  })),
});
const instancesSchema = z.object({
  slices: z.object({ orders: z.object({ instances: z.array(z.object({ node: z.string(), state: z.string() })) }) }),
});

let fleet: NodeFleet;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "aether-scaling-"));
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await pushSlice(fleet, {
    artifact: "test:orders:1.0.0",
    methods: {
      place: { effect: "read", handler: "async () => { await sleep(20); return {}; }" },
      poll: { effect: "read", handler: "async () => { await sleep(400); return {}; }" },
    },
  });
  await applySlices(fleet, { orders: { artifact: "test:orders:1.0.0", instances: 1 } }, "shop");
  await untilServed(fleet, "orders/place");
});

afterAll(async () => {
  await fleet.close();
  rmSync(directory, { recursive: true, force: true });
});

async function status(node: string): Promise<z.output<typeof statusSchema>> {
  return statusSchema.parse((await ask(`${fleet.api(node)}/v1/control`)).body);
}

/** Until so many instances serve, and no other is there. */
async function untilActive(node: string, count: number): Promise<readonly string[]> {
  return await eventually(`${count} instances`, async () => {
    const { body } = await ask(`${fleet.api(node)}/v1/blueprints/shop/status`);
    const { instances } = instancesSchema.parse(body).slices.orders;
    const isSo = instances.length === count && instances.every(({ state }) => state === "ACTIVE");
    return isSo ? instances.map((one) => one.node) : undefined;
  }, SCALED_MS_MAX);
}

async function control(node: string, ...args: readonly string[]): Promise<void> {
  const command = fleet.run(["--api", fleet.api(node), "control", ...args]);
  const { code } = await command.waitForEnd(COMMAND_MS_MAX);
  expect(code, command.transcript()).toBe(0);
}

async function applyRules(node: string, rules: unknown): Promise<void> {
  const file = join(directory, "rules.json");
  await writeFile(file, JSON.stringify(rules));
  await control(node, "apply", file);
}

async function leaderAndOthers(): Promise<{ readonly leader: string; readonly others: readonly string[] }> {
  const leader = await eventually("a leader", async () => (await status("n1")).leader ?? undefined);
  return { leader, others: fleet.names.filter((name) => name !== leader) };
}

test("a load brings instances, its end takes them away, though the leader dies, and no call fails", async () => {
  const { leader, others } = await leaderAndOthers();
  const [via = ""] = others;
  // Callers of nodes that stay. One goes on slowly when the load ends.
  const polling = new SteadyCalls([fleet.api(via)], async (client) => {
    await client.call({ slice: "orders", method: "poll", input: {}, effect: "read" });
  });
  const apis = others.flatMap((name) => Array.from({ length: 3 }, () => fleet.api(name)));
  const load = new SteadyCalls(apis, async (client) => {
    await client.call({ slice: "orders", method: "place", input: {}, effect: "read" });
  });
  await applyRules(via, RULES);
  await untilActive(via, 2);
  await fleet.kill(leader);
  await fleet.start(leader);
  expect(new Set(await untilActive(via, MAX)).size).toBe(MAX);
  await load.stop();
  await untilActive(via, 1);
  await polling.stop();
  process.stdout.write(`scaling: ${load.answered} calls under load, ${polling.answered} beside it\n`);
  expect([...load.failures, ...polling.failures]).toEqual([]);
});

test("a model that answers nonsense is refused by the form or by the bounds, and that is said", async () => {
  const stub = await openLlmStub();
  const { leader, others: [via = ""] } = await leaderAndOthers();
  const mad = [
    { service: "orders", instances: 1_000_000, reason: "more!" },
    { service: "nobody", instances: 3 },
  ];
  stub.answer(
    { body: openAiStream(["As a model I feel that ", "seven would be nice."]) },
    { body: openAiStream([JSON.stringify({ advice: mad })]) },
  );
  await applyRules(via, {
    bounds: BOUNDS,
    advisors: [{ provider: "openai", model: "mad", url: `${stub.url}/v1`, every: "10s", timeout: "5s", retries: 0 }],
  });
  const reasons = async (): Promise<readonly string[]> =>
    (await status(leader)).decisions.map(({ decision }) => `${decision.source} ${decision.code ?? decision.reason}`);
  const notOfTheForm = "model mad its answer is not of the form that it was asked for";
  await eventually("the first answer is no advice", async () =>
    (await reasons()).includes(notOfTheForm) || undefined, SCALED_MS_MAX);
  await untilActive(via, MAX);
  await eventually("the bounds refuse the rest", async () => {
    const found = await reasons();
    return (found.includes("model mad at-max") && found.includes("model mad no-such-slice")) || undefined;
  }, SCALED_MS_MAX);
  await untilActive(via, MAX);
  stub.close();
});
