// Slow: a tick comes once a minute. A schedule of an agent on real nodes, of which the leader is killed just before the
// tick: one job is started by it, runs, and is on the list.
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const PACKAGE = fileURLToPath(new URL("./slices/ticking", import.meta.url));
const TICK_MS_MAX = 90_000;
const leaderOf = z.object({ leader: z.object({ node: z.string() }) });
const listSchema = z.object({
  jobs: z.array(z.object({ job: z.string(), status: z.string(), attributes: z.record(z.string(), z.string()) })),
});
const schedulesSchema = z.object({
  schedules: z.array(z.object({
    agent: z.string(), name: z.string(), job: z.string().optional(), last: z.object({ state: z.string() }).optional(),
  })),
});

test("a tick starts one job, whoever leads when it comes", async () => {
  const fleet = await NodeFleet.create();
  onTestFinished(() => fleet.close());
  await fleet.startAll();
  const push = fleet.run(["--api", fleet.api("n1"), "slice", "push", PACKAGE]);
  expect((await push.waitForEnd()).code, push.transcript()).toBe(0);
  const slices = { ticking: { artifact: "test:ticking@^1.0.0", instances: 0 } };
  expect(await ask(`${fleet.api("n1")}/v1/blueprints/ticking`, { method: "PUT", body: { slices } }))
    .toMatchObject({ status: 200 });
  await eventually("the schedule has begun", async () => {
    const { body } = await ask(`${fleet.api("n1")}/v1/kv?prefix=agent-schedules/`);
    return JSON.stringify(body).includes("waiting") || undefined;
  });
  const { leader } = leaderOf.parse((await ask(`${fleet.api("n1")}/v1/cluster`)).body);
  await fleet.kill(leader.node);
  const other = fleet.names.find((name) => name !== leader.node) ?? "";
  const jobs = async () =>
    listSchema.parse((await ask(`${fleet.api(other)}/v1/jobs?attribute=schedule%3Dminutely`)).body).jobs;
  const [first] = await eventually("a tick has started a job that has run", async () => {
    const found = await jobs();
    return found.length > 0 && found.every(({ status }) => status === "completed") ? found : undefined;
  }, TICK_MS_MAX);
  await fleet.start(leader.node);
  const { schedules } = await eventually("the list has it", async () => {
    const found = schedulesSchema.parse((await ask(`${fleet.api(leader.node)}/v1/schedules`)).body);
    return found.schedules[0]?.last?.state === "done" ? found : undefined;
  });
  expect(schedules).toMatchObject([{ agent: "ticking", name: "minutely" }]);
  const found = await jobs();
  expect(found.map(({ job }) => job)).toContain(first?.job);
  expect(new Set(found.map(({ attributes }) => attributes["tick"])).size).toBe(found.length);
  const text = (await fleet.command(other, "schedule", "list")).stdout.join("\n");
  expect(text).toContain("ticking/ticking/minutely");
  expect(text).toContain(schedules[0]?.job);
});
