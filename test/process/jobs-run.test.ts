// Slow. Jobs on real nodes: an agent is pushed, its jobs are started through any node and answer through any other.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const PACKAGE = fileURLToPath(new URL("./slices/agents", import.meta.url));

const startedSchema = z.object({ job: z.string(), status: z.string(), isNew: z.boolean() });
const eventsSchema = z.object({ events: z.array(z.object({ type: z.string() })) });
const endedSchema = z.object({ result: z.unknown() });

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  const push = fleet.run(["--api", fleet.api("n1"), "slice", "push", PACKAGE]);
  expect((await push.waitForEnd()).code, push.transcript()).toBe(0);
  const slices = { agents: { artifact: "test:agents@^1.0.0", instances: 0 } };
  const applied = await ask(`${fleet.api("n1")}/v1/blueprints/agents`, { method: "PUT", body: { slices } });
  expect(applied).toMatchObject({ status: 200 });
});

afterAll(() => fleet.close());

async function start(via: string, agent: string, input: unknown, headers: Record<string, string> = {}):
  Promise<z.output<typeof startedSchema>> {
  const answer = await ask(`${fleet.api(via)}/v1/jobs`, { method: "POST", body: { agent, input }, headers });
  expect([200, 201], JSON.stringify(answer.body)).toContain(answer.status);
  return startedSchema.parse(answer.body);
}

async function resultOf(via: string, job: string): Promise<unknown> {
  return await eventually(`job ${job} has ended`, async () => {
    const { status, body } = await ask(`${fleet.api(via)}/v1/jobs/${job}/result?waitMs=5000`);
    return status === 200 ? endedSchema.parse(body).result : undefined;
  });
}

test("a job that is started through one node answers through another", async () => {
  const { job, isNew } = await start("n1", "counting", { steps: 10 });
  expect(isNew).toBe(true);
  expect(await resultOf("n2", job)).toMatchObject({ kind: "completed", output: { sum: 55 } });
  const { body } = await ask(`${fleet.api("n3")}/v1/jobs/${job}/events`);
  const types = eventsSchema.parse(body).events.map(({ type }) => type);
  expect(types).toEqual(["job.created", "job.claimed", ...Array<string>(10).fill("step.completed"), "job.completed"]);
});

test("a job that sleeps and waits for a signal goes on, and costs no owner meanwhile", async () => {
  const { job } = await start("n1", "waiting", { sleepMs: 6_000 });
  await eventually("it waits without an owner", async () => {
    const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
    return JSON.stringify(body).includes('"timer"') || undefined;
  });
  const told = await ask(`${fleet.api("n3")}/v1/jobs/${job}/signals/go`, { method: "POST", body: { by: "ann" } });
  expect(told.status, JSON.stringify(told.body)).toBeLessThan(300);
  expect(await resultOf("n2", job)).toMatchObject({ kind: "completed", output: { by: "ann" } });
});
