// Slow. Budgets on real nodes: a job that has spent what it may waits without an owner, over the death of every node,
// until its budget is raised, and goes on from there; what it has spent is what its log says.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { openWebServer, type WebServer } from "../support/web-server.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const amounts = z.object({ usd: z.number().optional(), tokens: z.number().optional() });
const shownSchema = z.object({
  status: z.string(),
  owner: z.string().optional(),
  waiting: z.object({ reason: z.string(), why: z.string().optional() }).optional(),
  budget: z.object({ limit: amounts, reserved: amounts, spent: amounts }),
});
type Shown = z.output<typeof shownSchema>;

let fleet: NodeFleet;
let outside: Outside;

beforeAll(async () => {
  outside = await openOutside();
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "spender");
});

afterAll(async () => {
  await fleet.close();
  outside.close();
});

async function show(via: string, job: string): Promise<Shown> {
  const { body } = await ask(`${fleet.api(via)}/v1/jobs/${job}`);
  return shownSchema.parse(body);
}

async function whenShort(via: string, job: string, call: string): Promise<Shown> {
  return await eventually(`job ${job} waits for a budget for ${call}`, async () => {
    const shown = await show(via, job);
    const { reason, why = "" } = shown.waiting ?? {};
    return reason === "budget" && why.includes(call) ? shown : undefined;
  });
}

async function budgetLine(via: string, job: string): Promise<string> {
  const { stdout } = await fleet.command(via, "job", "show", job);
  return stdout.join("\n").split("\n").find((line) => line.startsWith("budget")) ?? "";
}

test("it waits when it has spent what it may, over the death of all nodes, and goes on when it is raised", async () => {
  const { job } = await startJob(fleet, "n1", { agent: "spender", input: { url: outside.url }, budget: { usd: 0.35 } });
  // A question takes 0.1 USD; what it says at most is 0.2, and what it is asked comes to that.
  const short = await whenShort("n2", job, "judge#3");
  expect(short).toMatchObject({ status: "waiting", budget: { limit: { usd: 0.35, tokens: 10_000 }, reserved: {} } });
  expect(short.owner).toBeUndefined();
  expect(short.waiting?.why).toMatch(/0\.15 USD of 0\.35 USD are left; aether job budget raises it with --add-usd/);
  expect(await budgetLine("n3", job)).toMatch(/^budget +0\.2 of 0\.35 USD spent; 200 of 10000 tokens spent$/);

  await Promise.all(fleet.names.map((name) => fleet.kill(name)));
  await fleet.startAll();
  expect(await whenShort("n1", job, "judge#3")).toMatchObject({ budget: short.budget });
  await fleet.command("n2", "job", "budget", job, "--add-usd", "0.2", "--key", "a");
  await fleet.command("n3", "job", "budget", job, "--add-usd", "0.2", "--key", "a");
  const again = await whenShort("n3", job, "ship#1");
  expect(again.budget).toMatchObject({ limit: { usd: 0.55 }, reserved: {}, spent: { usd: 0.3, tokens: 300 } });
  expect(outside.shipped).toEqual([]);

  // Its node dies while the parcel is sent: nobody knows, and the money stays reserved until somebody says.
  await ask(`${fleet.api("n1")}/v1/jobs/${job}/budget`, { method: "POST", body: { add: { usd: 0.3 } } });
  const { owner = "" } = await eventually("it is being shipped", async () =>
    outside.shipped.length === 1 ? await show("n1", job) : undefined);
  await fleet.kill(owner);
  const via = fleet.names.find((name) => name !== owner) ?? "";
  const unknown = await eventually("it waits for a person", async () => {
    const shown = await show(via, job);
    return shown.waiting?.reason === "unknown" ? shown : undefined;
  });
  expect(unknown.budget).toMatchObject({ reserved: { usd: 0.4 }, spent: { usd: 0.3 } });
  await fleet.command(via, "job", "resolve", job, "ship#1", "--done", '{"parcel": "p-17"}');
  expect(await resultOf(fleet, via, job)).toMatchObject({ kind: "completed", output: { parcel: "p-17", asked: 3 } });
  expect((await show(via, job)).budget).toMatchObject({ limit: { usd: 0.85 }, reserved: {}, spent: { usd: 0.7 } });
  expect(outside.shipped).toHaveLength(1);
  await fleet.command(via, "job", "verify", job);
  await fleet.start(owner);
});

test("what its budget does not limit cannot be raised, nor that of a job that has ended", async () => {
  const { job } = await startJob(fleet, "n1", { agent: "spender", input: { url: outside.url }, budget: { usd: 0 } });
  await whenShort("n1", job, "judge#1");
  await expect(fleet.command("n1", "job", "budget", job, "--add-steps", "5")).rejects.toThrow("as it likes of steps");
  const nothing = await ask(`${fleet.api("n1")}/v1/jobs/${job}/budget`, { method: "POST", body: { add: {} } });
  expect(nothing).toMatchObject({ status: 400, body: { error: { code: "E_INVALID" } } });
  await fleet.command("n1", "job", "cancel", job);
  expect(await resultOf(fleet, "n1", job)).toEqual({ kind: "cancelled" });
  const late = await ask(`${fleet.api("n1")}/v1/jobs/${job}/budget`, { method: "POST", body: { add: { usd: 1 } } });
  expect(late).toMatchObject({ status: 409, body: { error: { code: "E_CONFLICT" } } });
});

interface Outside extends WebServer {
  readonly shipped: readonly string[];
}

/** Takes parcels, and never answers. */
async function openOutside(): Promise<Outside> {
  const shipped: string[] = [];
  const server = await openWebServer((request) => void shipped.push(request.url ?? ""));
  return { ...server, shipped };
}
