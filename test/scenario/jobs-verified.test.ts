// Tools with verifiers, over the real store: the node that runs the job falls silent at each of its writes, before or
// after the write, and the one that takes over looks at what was done.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { parseJobId } from "../../src/base/ids.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { resultKey, rowKey } from "../../src/jobs/core/life/job-keys.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { numberedEvents } from "../../src/jobs/core/log/page.ts";
import { parseJobPage, parseJobResult, parseJobRow } from "../../src/jobs/core/rows.ts";
import { parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { defineTool, type ToolVerifier } from "../../src/sdk/tool.ts";
import { haveEnded, JobNode } from "../support/job-node.ts";
import { putPin, startJob } from "../support/job-log.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const JOB = parseJobId("payer-1");
const input = z.object({ order: z.string() });

let clock: ManualClock;
let local: LocalKv;
let nodes: JobNode[];
/** What was done outside, by effect id. */
let outside: Map<string, string>;
let isLost: boolean;

beforeEach(freshWorld);
afterEach(closeWorld);

async function freshWorld(): Promise<void> {
  clock = new ManualClock();
  local = await createLocalKv();
  nodes = [];
  outside = new Map();
  isLost = false;
  await putPin(local.kv);
}

async function closeWorld(): Promise<void> {
  for (const node of nodes) await node.close(local.kv);
  await local.close();
}

/** Pays, and ships after it, both once; what is done outside is there until `isLost`. */
function payer(onMismatch: ToolVerifier<unknown, unknown>["onMismatch"]): Agent {
  const once = <const N extends string>(name: N) => defineTool({
    name, input, output: z.string(), effect: "once", settleMs: 0,
    execute: ({ order }, { effectId }) => {
      expect(outside.has(effectId)).toBe(false);
      outside.set(effectId, `${name} ${order}`);
      return `${name} ${order}`;
    },
    reconcile: (_input, { effectId }) => {
      const result = outside.get(effectId);
      return result === undefined ? { status: "not-done", final: true } : { status: "done", result };
    },
    verify: { onMismatch, check: (_input, result, { effectId }) => !isLost && outside.get(effectId) === result },
  });
  return defineAgent({
    name: "payer", input, output: z.string(), tools: { pay: once("pay"), ship: once("ship") },
    run: async (job, given) => {
      await job.tools.pay(given);
      await job.step("between", () => 1);
      return await job.tools.ship(given);
    },
  });
}

interface Death {
  readonly at: number;
  readonly fate: "lost" | "applied";
}

function openNode(name: string, agent: Agent, dies?: Death): JobNode {
  const node = new JobNode({ name, clock, kv: local.kv, agents: [agent], ...(dies !== undefined && { dies }) });
  nodes.push(node);
  return node;
}

async function events(): Promise<readonly JobEvent[]> {
  const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "job-log", ...refOf(JOB), run: 1 }) });
  return entries.flatMap(({ key: text, value }) => {
    const key = parseKey(text);
    return key.kind === "job-page" ? numberedEvents({ run: 1, seq: key.seq, page: parseJobPage(value) }) : [];
  }).map(({ event }) => event);
}

async function waitingNow(): Promise<unknown> {
  return parseJobRow((await local.kv.get(rowKey(refOf(JOB)))).entry?.value).waiting;
}

const isDone = (): Promise<boolean> => haveEnded(local.kv, [JOB]);
const isOverOrWaits = async (): Promise<boolean> => await isDone() || (await waitingNow()) !== undefined;

async function resultNow(): Promise<unknown> {
  return parseJobResult((await local.kv.get(resultKey(refOf(JOB)))).entry?.value);
}

interface Looked {
  readonly done: readonly string[];
  readonly verified: readonly string[];
}

/** The calls that were done before the last claim, and those that were verified after it. */
function afterLastClaim(log: readonly JobEvent[]): Looked {
  const claim = log.findLastIndex(({ type }) => type === "job.claimed");
  const isTakeOver = log.filter(({ type }) => type === "job.claimed").length > 1;
  const done = log.slice(0, isTakeOver ? claim : 0).flatMap((event) =>
    event.type === "tool.succeeded" || (event.type === "tool.resolved" && event.resolution.kind === "done")
      ? [event.call] : []);
  return { done, verified: log.slice(claim).flatMap((event) => (event.type === "tool.verified" ? [event.call] : [])) };
}

interface Crash {
  readonly at: number;
  readonly isTakenOver: boolean;
  readonly log: readonly JobEvent[];
}

/** Runs the story with a first node that dies at each of its writes; answers how many there were. */
async function crashEverywhere(
  fate: "lost" | "applied", agent: Agent, check: (crash: Crash) => Promise<void>, isGone = false,
): Promise<number> {
  for (let at = 1; ; at++) {
    await closeWorld();
    await freshWorld();
    await startJob(local.kv, { job: JOB, agent: "payer", input: { order: "o" } });
    const first = openNode("a", agent, { at, fate });
    await first.goOn(isDone);
    const isTakenOver = first.isDead;
    await first.close(local.kv);
    isLost = isGone;
    if (!await isDone()) await openNode("b", agent).goOn(isOverOrWaits);
    await check({ at, isTakenOver, log: await events() });
    if (!isTakenOver) return at - 1;
  }
}

describe.each(["lost", "applied"] as const)("an owner that falls silent at any of its writes, which is %s", (fate) => {
  test("has what it did verified once, and nothing is done twice", async () => {
    const writes = await crashEverywhere(fate, payer("strict"), async ({ at, log }) => {
      expect(await resultNow(), `write ${at}`).toEqual({ kind: "completed", output: "ship o" });
      const { done, verified } = afterLastClaim(log);
      expect(verified, `write ${at}`).toEqual(done);
      expect([...outside.values()].sort()).toEqual(["pay o", "ship o"]);
    });
    expect(writes).toBeGreaterThan(4);
  });

  test("fails a strict job whose effect is gone, as soon as one was recorded", async () => {
    let failed = 0;
    await crashEverywhere(fate, payer("strict"), async ({ at, isTakenOver, log }) => {
      const { done } = afterLastClaim(log);
      const result = await resultNow();
      if (!isTakenOver || done.length === 0) return expect(result, `write ${at}`).toMatchObject({ kind: "completed" });
      // One that had ended before nobody takes over.
      if (log.some(({ type }) => type === "job.completed")) return;
      failed += 1;
      expect(result, `write ${at}`).toMatchObject({ kind: "failed", error: { code: "E_EFFECT_MISMATCH" } });
      expect(afterLastClaim(log).verified).toEqual(done);
    }, true);
    expect(failed).toBeGreaterThan(1);
  });
});

test("a job whose effect is gone waits for a person, who lets it go on without being asked again", async () => {
  let waited = 0;
  const agent = payer("human");
  await crashEverywhere("applied", agent, async ({ at, log }) => {
    if (await isDone()) return;
    waited += 1;
    expect(afterLastClaim(log).done.length, `write ${at}`).toBeGreaterThan(0);
    expect(await waitingNow()).toMatchObject({
      reason: "stuck", why: expect.stringMatching(/^E_EFFECT_MISMATCH: the call pay#1/) as unknown,
    });
    const person = openNode("c", agent);
    await person.tell(JOB, { kind: "release", principal: "ann" });
    await person.goOn(isDone);
    expect(await resultNow()).toEqual({ kind: "completed", output: "ship o" });
    expect((await events()).map(({ type }) => type)).toContain("job.let-go");
  }, true);
  expect(waited).toBeGreaterThan(1);
});
