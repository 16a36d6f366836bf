// Tools with verifiers, over the real store: the node that runs the job falls silent at each of its writes, before or
// after the write, and the one that takes over looks at what was done.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { parseJobId } from "../../src/base/ids.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { defineTool, type ToolVerifier } from "../../src/sdk/tool.ts";
import { startJob } from "../support/job-log.ts";
import { haveEnded } from "../support/job-node.ts";
import { eventsOf, resultOf, rowOf } from "../support/job-rows.ts";
import { JobsWorld } from "../support/jobs-world.ts";

const JOB = parseJobId("payer-1");
const input = z.object({ order: z.string() });

const world = new JobsWorld([]);
/** What was done outside, by effect id. */
let outside: Map<string, string>;
let isLost: boolean;
/** How much of it was done before the job was taken over. */
let doneBefore: number;

beforeEach(freshWorld);
afterEach(() => world.close());

async function freshWorld(): Promise<void> {
  await world.begin();
  outside = new Map();
  isLost = false;
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

async function events(): Promise<readonly JobEvent[]> {
  return (await eventsOf(world.kv, JOB)).map(({ event }) => event);
}

async function waitingNow(): Promise<unknown> {
  return (await rowOf(world.kv, JOB)).waiting;
}

const isDone = (): Promise<boolean> => haveEnded(world.kv, [JOB]);
const isOverOrWaits = async (): Promise<boolean> => await isDone() || (await waitingNow()) !== undefined;

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
    await freshWorld();
    await startJob(world.kv, { job: JOB, agent: "payer", input: { order: "o" } });
    const first = world.openNode("a", { agents: [agent], dies: { at, fate } });
    await first.goOn(isDone);
    const isTakenOver = first.isDead;
    await first.close(world.kv);
    isLost = isGone;
    doneBefore = outside.size;
    if (!await isDone()) await world.openNode("b", { agents: [agent] }).goOn(isOverOrWaits);
    await check({ at, isTakenOver, log: await events() });
    if (!isTakenOver) return at - 1;
  }
}

describe.each(["lost", "applied"] as const)("an owner that falls silent at any of its writes, which is %s", (fate) => {
  test("has what it did verified once, and nothing is done twice", async () => {
    const writes = await crashEverywhere(fate, payer("strict"), async ({ at, log }) => {
      expect(await resultOf(world.kv, JOB), `write ${at}`).toEqual({ kind: "completed", output: "ship o" });
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
      const result = await resultOf(world.kv, JOB);
      if (!isTakenOver || done.length === 0) return expect(result, `write ${at}`).toMatchObject({ kind: "completed" });
      // One that had ended before nobody takes over.
      if (log.some(({ type }) => type === "job.completed")) return;
      failed += 1;
      expect(result, `write ${at}`).toMatchObject({ kind: "failed", error: { code: "E_EFFECT_MISMATCH" } });
      expect(afterLastClaim(log).verified).toEqual(done);
      expect(outside.size, `write ${at}`).toBe(doneBefore);
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
    const person = world.openNode("c", { agents: [agent] });
    await person.tell(JOB, { kind: "release", principal: "ann" });
    await person.goOn(isDone);
    expect(await resultOf(world.kv, JOB)).toEqual({ kind: "completed", output: "ship o" });
    expect((await events()).map(({ type }) => type)).toContain("job.let-go");
  }, true);
  expect(waited).toBeGreaterThan(1);
});
