// A job whose verified effect is gone outside while another call of it is open: the job fails, and not before it is
// known what became of that call, which nobody makes again.
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { parseJobId } from "../../src/base/ids.ts";
import { JobCheck } from "../../src/jobs/core/explain/job-check.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { resultKey, rowKey } from "../../src/jobs/core/life/job-keys.ts";
import type { Resolution } from "../../src/jobs/core/log/event.ts";
import { readEvent } from "../../src/jobs/core/log/upcast.ts";
import { parseJobResult, parseJobRow, type JobRow } from "../../src/jobs/core/rows.ts";
import { parseToolRow, type ToolRow } from "../../src/jobs/core/tools/tool-row.ts";
import { JobExport } from "../../src/jobs/doors/job-export.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import { defineAgent } from "../../src/sdk/agent.ts";
import { defineTool } from "../../src/sdk/tool.ts";
import { haveEnded, JobNode } from "../support/job-node.ts";
import { jobStore, putPin, startJob } from "../support/job-log.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const JOB = parseJobId("payer-1");

let clock: ManualClock;
let local: LocalKv;
let nodes: JobNode[];
/** Calls that reached the world outside. */
let calls: string[];

const pay = defineTool({
  name: "pay", input: z.string(), output: z.string(), effect: "once",
  execute: (order) => {
    calls.push("pay");
    return order;
  },
  verify: { onMismatch: "strict", check: () => ({ agrees: false, why: "it was taken back" }) },
});
/** Nobody hears how it ended. */
const ship = defineTool({
  name: "ship", input: z.string(), output: z.string(), effect: "once",
  execute: () => {
    calls.push("ship");
    return new Promise<string>(() => undefined);
  },
});
const payer = defineAgent({
  name: "payer", input: z.string(), output: z.string(), tools: { pay, ship },
  run: async (job, order) => {
    const paid = await job.tools.pay(order);
    const shipped = await job.tools.ship(order);
    await job.step("after", () => calls.push("after"));
    return paid + shipped;
  },
});

beforeEach(async () => {
  clock = new ManualClock();
  local = await createLocalKv();
  [nodes, calls] = [[], []];
  await putPin(local.kv);
});

afterEach(async () => {
  for (const node of nodes) await node.close(local.kv);
  await local.close();
});

function openNode(name: string): JobNode {
  const node = new JobNode({ name, clock, kv: local.kv, agents: [payer] });
  nodes.push(node);
  return node;
}

async function row(): Promise<JobRow> {
  return parseJobRow((await local.kv.get(rowKey(refOf(JOB)))).entry?.value);
}

async function ledger(): Promise<readonly ToolRow[]> {
  const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "job-tools", ...refOf(JOB), run: 1 }) });
  return entries.map(({ value }) => parseToolRow(value));
}

async function types(): Promise<readonly string[]> {
  return (await jobStore(clock, local.kv).load(refOf(JOB))).log.map((bytes) => readEvent(bytes).event.type);
}

async function problems(): Promise<readonly unknown[]> {
  const check = new JobCheck();
  for await (const line of await new JobExport(local.kv).open(JOB)) check.add(line.slice(0, -1));
  return check.finish().problems;
}

test.each<[Resolution, ToolRow["state"], string]>([
  [{ kind: "done", result: "by train" }, "succeeded", "E_EFFECT_MISMATCH"],
  [{ kind: "not-done" }, "failed", "E_EFFECT_MISMATCH"],
  [{ kind: "given-up", reason: "nobody knows" }, "failed", "E_CONFLICT"],
])("waits for the person who says that the open call is %o, and fails then", async (resolution, state, code) => {
  await startJob(local.kv, { job: JOB, agent: "payer", input: "o" });
  const first = openNode("a");
  await first.goOn(async () => calls.includes("ship"));
  await first.close(local.kv);

  await openNode("b").goOn(async () => (await row()).status === "waiting");
  expect(await row()).toMatchObject({ waiting: { reason: "unknown" } });
  expect((await ledger()).map((call) => call.state).sort()).toEqual(["succeeded", "unknown"]);
  expect(await types()).toContain("tool.verified");
  // It has not ended, however long nobody says anything, and whoever takes it up.
  await clock.advance(60_000);
  expect(await haveEnded(local.kv, [JOB])).toBe(false);

  const open = (await ledger()).find((call) => call.state === "unknown");
  if (open === undefined) return expect.unreachable("a call is in doubt");
  const last = openNode("c");
  await last.tell(JOB, { kind: "resolve", effect: open.effectId, resolution, principal: "ann" });
  await last.goOn(async () => (await types()).includes("tool.resolved"));
  // Also when that one dies before it has noted the end.
  await last.close(local.kv);
  await openNode("d").goOn(() => haveEnded(local.kv, [JOB]));
  const result = parseJobResult((await local.kv.get(resultKey(refOf(JOB)))).entry?.value);
  expect(result).toMatchObject({ kind: "failed", error: { code } });
  expect((await ledger()).find(({ call }) => call === open.call)?.state).toBe(state);
  expect(calls).toEqual(["pay", "ship"]);
  expect((await types()).filter((type) => type === "tool.granted")).toHaveLength(2);
  expect(await problems()).toEqual([]);
});
