// Slow. Jobs on real nodes as people drive them with the command line: signals, cancels, and calls that nobody knows
// about. Each command asks another node.
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents, resultOf } from "./support/fleet-jobs.ts";

const shownSchema = z.object({
  status: z.string(),
  waiting: z.object({ reason: z.string() }).optional(),
  tools: z.array(z.object({ call: z.string(), state: z.string() })),
});

/** A shop that keeps to itself what it did the first time that it hears of an effect. */
interface Shop {
  readonly server: Server;
  readonly url: string;
  readonly heard: string[];
}

let fleet: NodeFleet;
let shop: Shop;

beforeAll(async () => {
  shop = await openShop();
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "doubtful");
});

afterAll(async () => {
  await fleet.close();
  shop.server.close();
});

/** Runs a command that has to work, and gives what it printed. */
async function aether(via: string, ...args: readonly string[]): Promise<string> {
  return (await fleet.command(via, ...args)).transcript();
}

async function openShop(): Promise<Shop> {
  const heard: string[] = [];
  const server = createServer((request, response) => {
    const effect = request.url ?? "";
    response.statusCode = heard.includes(effect) ? 200 : 500;
    heard.push(effect);
    response.end(`receipt ${heard.length}`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { server, url: `http://127.0.0.1:${port}`, heard };
}

async function refused(why: string, ...args: readonly string[]): Promise<void> {
  const run = fleet.run(["--api", fleet.api("n1"), ...args]);
  expect((await run.waitForEnd()).code).toBe(1);
  expect(run.transcript()).toContain(why);
}

async function shownAs(job: string, what: string, holds: (shown: z.output<typeof shownSchema>) => boolean):
Promise<void> {
  await eventually(`job ${job} is ${what}`, async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
    return holds(shownSchema.parse(body)) || undefined;
  });
}

async function startJob(job: string): Promise<void> {
  await aether("n1", "job", "start", "doubtful", JSON.stringify({ url: shop.url }), "--id", job);
}

/** Up to where its tool threw, and nobody knows what has happened. */
async function startDoubtful(job: string): Promise<void> {
  await startJob(job);
  await aether("n2", "job", "signal", job, "go", '{"by": "ann"}');
  await shownAs(job, "in doubt", ({ tools }) => tools.some(({ state }) => state === "unknown"));
}

test("a call that a person says was done is not made again", async () => {
  await startDoubtful("done-1");
  const heard = shop.heard.length;
  await aether("n3", "job", "resolve", "done-1", "charge#1", "--done", '{"receipt": "by hand"}');
  const output = { receipt: "by hand", by: "ann" };
  expect(await resultOf(fleet, "n3", "done-1")).toEqual({ kind: "completed", output });
  expect(shop.heard).toHaveLength(heard);
  expect(await aether("n2", "job", "trace", "done-1")).toMatch(/tool \S*charge#1 resolved by anonymous: done/);
});

test("a call that a person says was not done is made again, with the same effect id", async () => {
  await startDoubtful("again-1");
  await aether("n3", "job", "resolve", "again-1", "charge#1", "--not-done");
  expect(await resultOf(fleet, "n3", "again-1")).toMatchObject({ kind: "completed", output: { by: "ann" } });
  expect(shop.heard.at(-1)).toBe(shop.heard.at(-2));
});

test("a call that a person gives up fails its job", async () => {
  await startDoubtful("fail-1");
  await aether("n3", "job", "resolve", "fail-1", "charge#1", "--fail", "the shop is closed");
  expect(await resultOf(fleet, "n3", "fail-1")).toMatchObject({ kind: "failed" });
});

test("a retry of a job whose call was given up asks about it, and makes it with the same effect id", async () => {
  await startDoubtful("given-up-1");
  await aether("n3", "job", "resolve", "given-up-1", "charge#1", "--fail", "the shop is closed");
  expect(await resultOf(fleet, "n3", "given-up-1")).toMatchObject({ kind: "failed" });
  const heard = shop.heard.length;
  await aether("n2", "job", "retry", "given-up-1", "--id", "retry-1");
  await shownAs("retry-1", "in doubt again", ({ waiting }) => waiting?.reason === "unknown");
  expect(shop.heard).toHaveLength(heard);
  await aether("n1", "job", "resolve", "retry-1", "charge#1", "--not-done");
  // The signal that the old job had got is not waited for again.
  expect(await resultOf(fleet, "n3", "retry-1")).toMatchObject({ kind: "completed", output: { by: "ann" } });
  expect(shop.heard).toHaveLength(heard + 1);
  expect(shop.heard.at(-1)).toBe(shop.heard.at(-2));
  expect(await aether("n3", "job", "trace", "retry-1")).toContain("retries given-up-1");
  expect(await aether("n3", "job", "verify", "retry-1")).toContain("job retry-1 is whole");
  await refused("E_CONFLICT: job given-up-1 was done again already, as retry-1", "job", "retry", "given-up-1");
  await refused("E_CONFLICT: job retry-1 is not done again: only a job that failed", "job", "retry", "retry-1");

  await refused("it would make charge#1 once more", "job", "fork", "retry-1", "--at", "go#1");
  await aether("n2", "job", "fork", "retry-1", "--at", "charge#1", "--again", "charge#1", "--id", "fork-1");
  expect(await resultOf(fleet, "n3", "fork-1")).toMatchObject({ kind: "completed", output: { by: "ann" } });
  expect(shop.heard).toHaveLength(heard + 2);
  expect(shop.heard.at(-1)).toBe(shop.heard.at(-2));
  expect(await aether("n3", "job", "verify", "fork-1")).toContain("job fork-1 is whole");
});

test("a start with a wrong input is refused with the place, and there is no job of it", async () => {
  const issues = [{ path: ["url"], message: "expected string, found number" }];
  const body = { agent: "doubtful", input: { url: 7 }, id: "wrong-1" };
  expect(await ask(`${fleet.api("n2")}/v1/jobs`, { method: "POST", body })).toMatchObject({
    status: 400, body: { error: { code: "E_INVALID", details: { issues } } },
  });
  const run = fleet.run(["--api", fleet.api("n3"), "job", "start", "doubtful", "{}", "--id", "wrong-2"]);
  expect((await run.waitForEnd()).code).toBe(1);
  expect(run.transcript()).toMatch(/E_INVALID[^]*at url: it is required and not there/);
  const { body: listed } = await ask(`${fleet.api("n1")}/v1/jobs`);
  expect(JSON.stringify(listed)).not.toContain("wrong-");
});

test("a signal that is not as its agent says is refused, and its job waits on", async () => {
  await startJob("told-1");
  await shownAs("told-1", "waiting", ({ status }) => status === "waiting");
  for (const [name, payload, reason] of [
    ["go", '{"by": 7}', "at by: expected string, found number"],
    ["gone", '{"by": "ann"}', "no such signal: use one of go"],
  ] as const) {
    const run = fleet.run(["--api", fleet.api("n2"), "job", "signal", "told-1", name, payload]);
    expect((await run.waitForEnd()).code).toBe(1);
    expect(run.transcript()).toContain("E_INVALID");
    expect(run.transcript()).toContain(reason);
  }
  await shownAs("told-1", "waiting", ({ status, waiting }) => status === "waiting" && waiting?.reason === "signal");
  await aether("n1", "job", "cancel", "told-1");
  expect(await resultOf(fleet, "n3", "told-1")).toEqual({ kind: "cancelled" });
});

test("a job that waits is cancelled", async () => {
  await startJob("cancel-1");
  await shownAs("cancel-1", "waiting", ({ status }) => status === "waiting");
  await aether("n2", "job", "cancel", "cancel-1");
  expect(await resultOf(fleet, "n3", "cancel-1")).toEqual({ kind: "cancelled" });
  const again = fleet.run(["--api", fleet.api("n1"), "job", "cancel", "cancel-1"]);
  expect((await again.waitForEnd()).code).toBe(1);
  expect(again.transcript()).toContain("E_CONFLICT");
});
