// Slow. Jobs on real nodes that ask people: decisions by the command line, over a restart of the whole cluster, and two
// at once.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents, resultOf } from "./support/fleet-jobs.ts";

const CONFLICT = 409;
const ACCEPTED = 202;

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "approving");
});

afterAll(async () => {
  await fleet.close();
});

/** Runs a command that has to work, and gives what it printed. */
async function aether(via: string, ...args: readonly string[]): Promise<string> {
  return (await fleet.command(via, ...args)).transcript();
}

/** Up to where the job waits for a decision, and nothing of it runs. */
async function startAsking(job: string, input: Readonly<Record<string, unknown>>): Promise<void> {
  await aether("n1", "job", "start", "approving", JSON.stringify(input), "--id", job);
  const shownSchema = z.object({ waiting: z.object({ reason: z.string() }).optional() });
  await eventually(`job ${job} waits`, async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
    return shownSchema.parse(body).waiting?.reason === "approval" || undefined;
  });
}

function decide(via: string, job: string, body: unknown): ReturnType<typeof ask> {
  return ask(`${fleet.api(via)}/v1/jobs/${job}/approvals/manager`, { method: "POST", body });
}

test("a decision reaches its job after all nodes were killed and started again", async () => {
  await startAsking("asks-1", { cents: 1_200 });
  for (const name of fleet.names) await fleet.kill(name);
  await fleet.startAll();
  const asked = await eventually("the approval is listed", async () => {
    const run = fleet.run(["--api", fleet.api("n2"), "job", "approvals"]);
    return (await run.waitForEnd()).code === 0 ? run.transcript() : undefined;
  });
  expect(asked).toContain("asks-1 asks: Refund 1200 cents?");
  expect(await aether("n3", "job", "show", "asks-1")).toContain("aether job approve asks-1 manager#1");
  await aether("n3", "job", "approve", "asks-1", "manager", "--data", '{"note": "fine"}');
  expect(await resultOf(fleet, "n3", "asks-1")).toEqual({
    kind: "completed", output: { approved: true, by: "anonymous", data: { note: "fine" } },
  });
  const trace = await aether("n1", "job", "trace", "asks-1");
  expect(trace).toMatch(/approval manager#1 asked for: Refund 1200 cents\? \{"cents":1200\}/);
  expect(trace).toMatch(/approval manager#1 given by anonymous with \{"note":"fine"\}/);
  expect(await aether("n1", "job", "approvals")).toContain("nothing waits for a decision");
});

test("of two who decide at once one is heard, and the other one hears of it", async () => {
  await startAsking("asks-2", { cents: 5 });
  const answers = await Promise.all([
    decide("n1", "asks-2", { approved: true, data: "n1" }), decide("n2", "asks-2", { approved: false, data: "n2" }),
  ]);
  expect(answers.map(({ status }) => status).sort()).toEqual([ACCEPTED, CONFLICT]);
  const late = answers.find(({ status }) => status === CONFLICT);
  expect(late?.body).toMatchObject({ error: { code: "E_CONFLICT", details: { by: "anonymous" } } });
  const isFirst = answers[0]?.status === ACCEPTED;
  expect(await resultOf(fleet, "n3", "asks-2")).toEqual({
    kind: "completed", output: { approved: isFirst, by: "anonymous", data: isFirst ? "n1" : "n2" },
  });
  const rejected = fleet.run(["--api", fleet.api("n1"), "job", "reject", "asks-2", "manager"]);
  expect((await rejected.waitForEnd()).code).toBe(1);
  expect(rejected.transcript()).toMatch(/E_CONFLICT.*anonymous has (approved|rejected) it at/);
});

test("who decides is not said by the body, and what nobody asks cannot be decided", async () => {
  await startAsking("asks-3", { cents: 5 });
  expect(await decide("n1", "asks-3", { approved: true, by: "the boss" })).toMatchObject({
    status: 400, body: { error: { code: "E_INVALID" } },
  });
  const other = await ask(`${fleet.api("n1")}/v1/jobs/asks-3/approvals/director`, {
    method: "POST", body: { approved: true },
  });
  expect(other).toMatchObject({ status: 404, body: { error: { code: "E_NOT_FOUND" } } });
  await aether("n2", "job", "cancel", "asks-3");
  expect(await resultOf(fleet, "n3", "asks-3")).toEqual({ kind: "cancelled" });
  expect(await decide("n1", "asks-3", { approved: true })).toMatchObject({
    status: CONFLICT, body: { error: { code: "E_CONFLICT" } },
  });
  expect(await aether("n1", "job", "approvals")).toContain("nothing waits for a decision");
});

test("what nobody decides in time is not approved", async () => {
  await aether("n1", "job", "start", "approving", '{"cents": 5, "timeout": "1 s"}', "--id", "asks-4");
  expect(await resultOf(fleet, "n3", "asks-4")).toEqual({
    kind: "completed", output: { approved: false, by: "nobody", data: null },
  });
  expect(await decide("n1", "asks-4", { approved: true })).toMatchObject({
    status: CONFLICT, body: { error: { code: "E_CONFLICT", details: { how: "expired" } } },
  });
});

test("a tool is called once a person has allowed just this call, and not when they refuse", async () => {
  await startAsking("pays-1", { cents: 2_000, pays: true });
  await startAsking("pays-2", { cents: 3_000, pays: true });
  const asked = await aether("n2", "job", "approvals", "pays-1");
  expect(asked).toContain("pays-1 asks: Refund 2000 cents for good?");
  expect(asked).toContain("aether job approve pays-1 refund#1");
  await aether("n2", "job", "approve", "pays-1", "refund#1");
  await aether("n3", "job", "reject", "pays-2", "refund", "--data", '"too much"');
  expect(await resultOf(fleet, "n3", "pays-1")).toEqual({
    kind: "completed", output: { approved: true, by: "", data: "refunded 2000" },
  });
  expect(await resultOf(fleet, "n3", "pays-2")).toEqual({
    kind: "completed", output: { approved: false, by: "anonymous", data: "too much" },
  });
  const trace = await aether("n1", "job", "trace", "pays-1");
  expect(trace).toMatch(/approval refund#1\/approval#1 given by anonymous[^]*tool refund#1 granted/);
  expect(await aether("n1", "job", "trace", "pays-2")).not.toContain("granted");
  await aether("n1", "job", "start", "approving", '{"cents": 5, "pays": true}', "--id", "pays-3");
  expect(await resultOf(fleet, "n3", "pays-3")).toMatchObject({ output: { data: "refunded 5" } });
});
