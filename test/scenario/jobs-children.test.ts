// Jobs that start jobs, over the real store: the node that runs both falls silent at each of its writes, before or
// after the write, and another node goes on.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { parseJobId, type JobId } from "../../src/base/ids.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { CHILD_DEPTH_MAX } from "../../src/jobs/core/life/children.ts";
import { resultKey } from "../../src/jobs/core/life/job-keys.ts";
import { numberedEvents } from "../../src/jobs/core/log/page.ts";
import { parseJobPage, parseJobResult } from "../../src/jobs/core/rows.ts";
import { parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { isChildFailed } from "../../src/sdk/child.ts";
import { childrenOf, haveEnded, JobNode, OTHER_PIN } from "../support/job-node.ts";
import { PIN, putPin, startJob } from "../support/job-log.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const PARENT = parseJobId("parent-1");
const number = z.number();

const doubling = defineAgent({
  name: "doubling", input: number, output: number, run: (job, input) => job.step("double", () => 2 * input),
});
const sleeping = defineAgent({
  name: "sleeping", input: number, output: number,
  run: async (job, input) => {
    await job.sleep("nap", "1 hour");
    return input;
  },
});
const failing = defineAgent({
  name: "failing", input: number, output: number,
  run: () => Promise.reject(Object.assign(new Error("out of luck"), { code: "E_LUCK" })),
});
const waiting = defineAgent({
  name: "waiting", input: number, output: number,
  run: async (job, input) => {
    const before = await job.step("before", () => 1);
    const doubled = await job.child(doubling, input);
    return await job.step("after", () => before + doubled);
  },
});
/** Ends, and leaves a child behind that it has started. */
const leaving = defineAgent({
  name: "leaving", input: number, output: number,
  run: async (job, input) => {
    // ignored: nobody waits for it; it is cancelled when this job ends.
    void job.child(sleeping, input).catch(() => undefined);
    const { id } = await job.child("doubling", input, { detached: true });
    return id.length;
  },
});
const catching = defineAgent({
  name: "catching", input: z.object({ agent: z.string(), timeout: z.number().optional() }), output: z.unknown(),
  run: async (job, { agent, timeout }) => {
    try {
      return await job.child(agent, 5, timeout === undefined ? {} : { timeout });
    } catch (error) {
      if (job.signal.aborted) throw error;
      return isChildFailed(error) ? [error.code, error.details.status] : [Reflect.get(Object(error), "code")];
    }
  },
});
const nesting = defineAgent({
  name: "nesting", input: number, output: z.unknown(),
  run: async (job, input): Promise<unknown> => {
    try {
      return await job.child("nesting", input + 1);
    } catch (error) {
      return [input, Reflect.get(Object(error), "code")];
    }
  },
});
const AGENTS: readonly Agent[] = [doubling, sleeping, failing, waiting, leaving, catching, nesting];

let clock: ManualClock;
let local: LocalKv;
let nodes: JobNode[];

beforeEach(freshWorld);
afterEach(closeWorld);

async function freshWorld(): Promise<void> {
  clock = new ManualClock();
  local = await createLocalKv();
  nodes = [];
  await putPin(local.kv);
}

async function closeWorld(): Promise<void> {
  for (const node of nodes) await node.close(local.kv);
  await local.close();
}

function openNode(name: string, dies?: { readonly at: number; readonly fate: "lost" | "applied" }): JobNode {
  const node = new JobNode({ name, clock, kv: local.kv, agents: AGENTS, ...(dies !== undefined && { dies }) });
  nodes.push(node);
  return node;
}

async function startParent(agent: string, input: unknown): Promise<void> {
  await startJob(local.kv, { job: PARENT, agent, input });
}

async function resultOf(job: JobId): Promise<unknown> {
  return parseJobResult((await local.kv.get(resultKey(refOf(job)))).entry?.value);
}

async function eventsOf(job: JobId): Promise<readonly string[]> {
  const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "job-log", ...refOf(job), run: 1 }) });
  return entries.flatMap(({ key: text, value }) => {
    const key = parseKey(text);
    return key.kind === "job-page" ? numberedEvents({ run: 1, seq: key.seq, page: parseJobPage(value) }) : [];
  }).map(({ event }) => event.type);
}

async function count(prefix: Parameters<typeof prefixOf>[0]): Promise<number> {
  return (await local.kv.list({ prefix: prefixOf(prefix) })).entries.length;
}

/** Everybody has ended, and nobody is to be told anything. */
async function isQuiet(): Promise<boolean> {
  const jobs = [PARENT, ...await childrenOf(local.kv, PARENT)];
  return await haveEnded(local.kv, jobs) && await count({ kind: "job-outboxes" }) === 0;
}

/** Runs the story with a first node that dies at each of its writes; answers how many there were. */
async function crashEverywhere(
  agent: string, fate: "lost" | "applied", check: (at: number) => Promise<void>,
): Promise<number> {
  for (let at = 1; ; at++) {
    await closeWorld();
    await freshWorld();
    await startParent(agent, 21);
    const first = openNode("a", { at, fate });
    await first.goOn(isQuiet);
    const isOver = !first.isDead;
    await first.close(local.kv);
    await openNode("b").goOn(isQuiet);
    await check(at);
    if (isOver) return at - 1;
  }
}

describe("a node that falls silent at any of its writes, which are lost or applied", () => {
  test.each(["lost", "applied"] as const)("%s: a child starts once, its end is told once (JOB14)", async (fate) => {
    const writes = await crashEverywhere("waiting", fate, async (at) => {
      expect(await resultOf(PARENT), `write ${at}`).toEqual({ kind: "completed", output: 43 });
      const children = await childrenOf(local.kv, PARENT);
      expect(children).toHaveLength(1);
      expect(await count({ kind: "jobs" })).toBe(2);
      const events = (await eventsOf(PARENT)).filter((type) => type.startsWith("child."));
      expect(events).toEqual(["child.started", "child.completed"]);
      expect((await eventsOf(children[0] ?? PARENT)).filter((type) => type === "step.completed")).toHaveLength(1);
    });
    expect(writes).toBeGreaterThan(6);
  });

  test.each(["lost", "applied"] as const)("%s: attached children end with their parent", async (fate) => {
    const writes = await crashEverywhere("leaving", fate, async (at) => {
      expect(await resultOf(PARENT), `write ${at}`).toEqual({ kind: "completed", output: 26 });
      const results = await Promise.all((await childrenOf(local.kv, PARENT)).map(resultOf));
      expect(results).toHaveLength(2);
      expect(results).toContainEqual({ kind: "completed", output: 42 });
      expect(results).toContainEqual({ kind: "cancelled" });
    });
    expect(writes).toBeGreaterThan(6);
  });
});

describe("a parent", () => {
  test("costs no owner while its child sleeps, and its cancel goes down", async () => {
    await startParent("catching", { agent: "sleeping" });
    const node = openNode("a");
    await node.goOn(async () => await count({ kind: "job-owned" }) === 0 && await count({ kind: "job-queue" }) === 0);
    const [child = PARENT] = await childrenOf(local.kv, PARENT);
    await node.cancel(PARENT);
    await node.goOn(isQuiet);
    expect(await Promise.all([PARENT, child].map(resultOf))).toEqual([{ kind: "cancelled" }, { kind: "cancelled" }]);
  });

  test.each([
    ["that fails", { agent: "failing" }, ["E_LUCK", "failed"]],
    ["whose time is over", { agent: "sleeping", timeout: 2_000 }, ["E_TIMEOUT", "timed-out"]],
  ])("hears of a child %s", async (_what, input, told) => {
    await startParent("catching", input);
    await openNode("a").goOn(isQuiet);
    expect(await resultOf(PARENT)).toEqual({ kind: "completed", output: told });
    const [child = PARENT] = await childrenOf(local.kv, PARENT);
    expect(await resultOf(child)).toMatchObject({ kind: told[1] === "failed" ? "failed" : "cancelled" });
  });

  test("starts no child whose pin is gone, and another one when it finds it again", async () => {
    await startParent("catching", { agent: "elsewhere" });
    const node = openNode("a");
    let rounds = 0;
    await node.goOn(async () => ++rounds > 10);
    expect(await childrenOf(local.kv, PARENT)).toEqual([]);
    const key = `job-pins/${OTHER_PIN}` as Parameters<typeof local.kv.get>[0];
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: {} }], else: [] });
    await node.goOn(async () => (await childrenOf(local.kv, PARENT)).length === 1);
    expect(PIN).not.toBe(OTHER_PIN);
  });

  test("is refused another level when there are eight above it", async () => {
    await startParent("nesting", 0);
    await openNode("a").goOn(isQuiet);
    const output = [CHILD_DEPTH_MAX, "E_TOO_LARGE"];
    expect(await resultOf(PARENT)).toEqual({ kind: "completed", output });
    expect(await count({ kind: "jobs" })).toBe(1 + CHILD_DEPTH_MAX);
  });
});
