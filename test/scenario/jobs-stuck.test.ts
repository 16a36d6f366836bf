// A job whose code no longer does what its log says, while a call of it has no outcome: people say what became of the
// call, with nobody to run the code, and a cancel then ends the job.
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import { parseJobId } from "../../src/base/ids.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import type { Resolution } from "../../src/jobs/core/log/event.ts";
import { parseToolRow, type ToolRow } from "../../src/jobs/core/tools/tool-row.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import { defineAgent } from "../../src/sdk/agent.ts";
import { defineTool } from "../../src/sdk/tool.ts";
import { startJob } from "../support/job-log.ts";
import { haveEnded } from "../support/job-node.ts";
import { eventTypesOf, resultOf, rowOf } from "../support/job-rows.ts";
import { verify } from "../support/exported-job.ts";
import { JobsWorld } from "../support/jobs-world.ts";

const JOB = parseJobId("shipper-1");

/** What the code reads outside of its job. */
let first: "load" | "fetch";
let shipped: number;

const ship = defineTool({
  name: "ship", input: z.string(), output: z.string(), effect: "once",
  // Nobody hears how it ended.
  execute: () => {
    shipped += 1;
    return new Promise<string>(() => undefined);
  },
});
const shipper = defineAgent({
  name: "shipper", input: z.string(), output: z.string(), tools: { ship },
  run: async (job, order) => {
    await job.step(first, () => undefined);
    return await job.tools.ship(order);
  },
});

const world = new JobsWorld([shipper]);

beforeEach(async () => {
  await world.begin();
  [first, shipped] = ["load", 0];
  await startJob(world.kv, { job: JOB, agent: "shipper", input: "o" });
});
afterEach(() => world.close());

async function call(): Promise<ToolRow> {
  const { entries } = await world.kv.list({ prefix: prefixOf({ kind: "job-tools", ...refOf(JOB), run: 1 }) });
  return parseToolRow(present(entries[0], "the call has a row").value);
}

async function isStuck(): Promise<boolean> {
  return (await rowOf(world.kv, JOB)).waiting?.reason === "stuck";
}

/** Its node dies in the middle of the call, and on the next one the code does something else. */
async function getStuck(): Promise<void> {
  const node = world.openNode("a");
  await node.goOn(async () => shipped > 0);
  await node.close(world.kv);
  first = "fetch";
  const next = world.openNode("b");
  await next.goOn(isStuck);
  await next.close(world.kv);
}

async function say(resolution: Resolution): Promise<void> {
  const { effectId: effect } = await call();
  await world.openNode("teller").tell(JOB, { kind: "resolve", effect, resolution, principal: "ann" });
}

test("leaves the call in doubt, so that a person can say what became of it", async () => {
  await getStuck();
  expect((await call()).state).toBe("unknown");
  await say({ kind: "done", result: "by train" });
  await world.openNode("c").goOn(async () => (await call()).state === "succeeded" && await isStuck());
  // Once the code is as it was, it goes on with what the person said.
  first = "load";
  const node = world.openNode("d");
  await node.tell(JOB, { kind: "release", principal: "ann" });
  await node.goOn(() => haveEnded(world.kv, [JOB]));
  expect(await resultOf(world.kv, JOB)).toEqual({ kind: "completed", output: "by train" });
  expect([shipped, (await verify(world.kv, JOB)).problems]).toEqual([1, []]);
});

test.each<[Resolution, "cancelled" | "failed"]>([
  [{ kind: "done", result: "by train" }, "cancelled"],
  [{ kind: "not-done" }, "cancelled"],
  [{ kind: "given-up", reason: "nobody knows" }, "failed"],
])("ends, since it was asked to, when a person has said of the call: %o", async (resolution, end) => {
  await getStuck();
  const node = world.openNode("c");
  await node.cancel(JOB);
  await node.goOn(async () => (await rowOf(world.kv, JOB)).waiting?.why?.includes("asked to end") === true);
  expect(await haveEnded(world.kv, [JOB])).toBe(false);
  await say(resolution);
  await node.goOn(() => haveEnded(world.kv, [JOB]));
  expect((await resultOf(world.kv, JOB)).kind).toBe(end);
  expect(await eventTypesOf(world.kv, JOB)).toContain("tool.resolved");
  expect([shipped, (await verify(world.kv, JOB)).problems]).toEqual([1, []]);
});
