// Jobs that start jobs, over the real store: the node that runs both falls silent at each of its writes, before or
// after the write, and another node goes on.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { parseJobId } from "../../src/base/ids.ts";
import { CHILD_DEPTH_MAX } from "../../src/jobs/core/life/children.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { isChildFailed } from "../../src/sdk/child.ts";
import { PIN, startJob } from "../support/job-log.ts";
import { childrenOf, haveEnded, OTHER_PIN } from "../support/job-node.ts";
import { eventTypesOf, resultOf } from "../support/job-rows.ts";
import { JobsWorld } from "../support/jobs-world.ts";

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

const world = new JobsWorld(AGENTS);
beforeEach(() => world.begin());
afterEach(() => world.close());

async function startParent(agent: string, input: unknown): Promise<void> {
  await startJob(world.kv, { job: PARENT, agent, input });
}

async function count(prefix: Parameters<typeof prefixOf>[0]): Promise<number> {
  return (await world.kv.list({ prefix: prefixOf(prefix) })).entries.length;
}

/** Everybody has ended, and nobody is to be told anything. */
async function isQuiet(): Promise<boolean> {
  const jobs = [PARENT, ...await childrenOf(world.kv, PARENT)];
  return await haveEnded(world.kv, jobs) && await count({ kind: "job-outboxes" }) === 0;
}

/** Runs the story with a first node that dies at each of its writes; answers how many there were. */
async function crashEverywhere(
  agent: string, fate: "lost" | "applied", check: (at: number) => Promise<void>,
): Promise<number> {
  for (let at = 1; ; at++) {
    await world.begin();
    await startParent(agent, 21);
    const first = world.openNode("a", { dies: { at, fate } });
    await first.goOn(isQuiet);
    const isOver = !first.isDead;
    await first.close(world.kv);
    await world.openNode("b").goOn(isQuiet);
    await check(at);
    if (isOver) return at - 1;
  }
}

describe("a node that falls silent at any of its writes, which are lost or applied", () => {
  test.each(["lost", "applied"] as const)("%s: a child starts once, its end is told once (JOB14)", async (fate) => {
    const writes = await crashEverywhere("waiting", fate, async (at) => {
      expect(await resultOf(world.kv, PARENT), `write ${at}`).toEqual({ kind: "completed", output: 43 });
      const children = await childrenOf(world.kv, PARENT);
      expect(children).toHaveLength(1);
      expect(await count({ kind: "jobs" })).toBe(2);
      const events = (await eventTypesOf(world.kv, PARENT)).filter((type) => type.startsWith("child."));
      expect(events).toEqual(["child.started", "child.completed"]);
      const steps = (await eventTypesOf(world.kv, children[0] ?? PARENT)).filter((type) => type === "step.completed");
      expect(steps).toHaveLength(1);
    });
    expect(writes).toBeGreaterThan(6);
  });

  test.each(["lost", "applied"] as const)("%s: attached children end with their parent", async (fate) => {
    const writes = await crashEverywhere("leaving", fate, async (at) => {
      expect(await resultOf(world.kv, PARENT), `write ${at}`).toEqual({ kind: "completed", output: 26 });
      const results = await Promise.all((await childrenOf(world.kv, PARENT)).map((job) => resultOf(world.kv, job)));
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
    const node = world.openNode("a");
    await node.goOn(async () => await count({ kind: "job-owned" }) === 0 && await count({ kind: "job-queue" }) === 0);
    const [child = PARENT] = await childrenOf(world.kv, PARENT);
    await node.cancel(PARENT);
    await node.goOn(isQuiet);
    for (const job of [PARENT, child]) expect(await resultOf(world.kv, job)).toEqual({ kind: "cancelled" });
  });

  test.each([
    ["that fails", { agent: "failing" }, ["E_LUCK", "failed"]],
    ["whose time is over", { agent: "sleeping", timeout: 2_000 }, ["E_TIMEOUT", "timed-out"]],
  ])("hears of a child %s", async (_what, input, told) => {
    await startParent("catching", input);
    await world.openNode("a").goOn(isQuiet);
    expect(await resultOf(world.kv, PARENT)).toEqual({ kind: "completed", output: told });
    const [child = PARENT] = await childrenOf(world.kv, PARENT);
    expect(await resultOf(world.kv, child)).toMatchObject({ kind: told[1] === "failed" ? "failed" : "cancelled" });
  });

  test("starts no child whose pin is gone, and another one when it finds it again", async () => {
    await startParent("catching", { agent: "elsewhere" });
    const node = world.openNode("a");
    let rounds = 0;
    await node.goOn(async () => ++rounds > 10);
    expect(await childrenOf(world.kv, PARENT)).toEqual([]);
    const key = `job-pins/${OTHER_PIN}` as Parameters<typeof world.kv.get>[0];
    await world.kv.transact({ compare: [], then: [{ kind: "put", key, value: {} }], else: [] });
    await node.goOn(async () => (await childrenOf(world.kv, PARENT)).length === 1);
    expect(PIN).not.toBe(OTHER_PIN);
  });

  test("is refused another level when there are eight above it", async () => {
    await startParent("nesting", 0);
    await world.openNode("a").goOn(isQuiet);
    const output = [CHILD_DEPTH_MAX, "E_TOO_LARGE"];
    expect(await resultOf(world.kv, PARENT)).toEqual({ kind: "completed", output });
    expect(await count({ kind: "jobs" })).toBe(1 + CHILD_DEPTH_MAX);
  });
});
