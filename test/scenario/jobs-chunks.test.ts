// Long logs, over the real store: chunks are written beside the appends, the node of the job falls silent at each of
// its writes, and whoever goes on reads the same log. What became of a chunk is found out.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import { parseJobId } from "../../src/base/ids.ts";
import type { JobProblem } from "../../src/jobs/core/explain/job-problems.ts";
import { refOf, type CallName } from "../../src/jobs/core/ids.ts";
import { decideAppend, decideClaim, decideRelease } from "../../src/jobs/core/life/decide.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { pageValue, parseJobPage } from "../../src/jobs/core/rows.ts";
import type { Decision, JobView } from "../../src/jobs/ports.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import type { KvEntry } from "../../src/kvstore/core/schema.ts";
import { defineAgent } from "../../src/sdk/agent.ts";
import { verify } from "../support/exported-job.ts";
import { jobStore, life, startJob, transitionOf, viewOf } from "../support/job-log.ts";
import { haveEnded } from "../support/job-node.ts";
import { resultOf } from "../support/job-rows.ts";
import { JobsWorld } from "../support/jobs-world.ts";

const JOB = parseJobId("long-1");
const REF = refOf(JOB);
const STEPS = 1_000;
/** These are in the log when the story begins. */
const STEPS_BEFORE = 992;
const STEPS_PER_PAGE = 62;

const long = defineAgent({
  name: "long", input: z.number(), output: z.number(),
  run: async (job, steps) => {
    let sum = 0;
    for (let at = 0; at < steps; at++) sum += await job.step("add", () => 1, { effect: "read" });
    return await job.step("end", () => sum);
  },
});

const world = new JobsWorld([long]);
beforeEach(async () => {
  await world.begin();
  await releasedJob();
});
afterEach(() => world.close());

/** A job that its owner has left in the middle, just before its log has a chunk. */
async function releasedJob(): Promise<void> {
  const store = jobStore(world.clock, world.kv);
  const commit = async (decision: Decision): Promise<JobView> => viewOf(await store.commit(transitionOf(decision)));
  const started = await startJob(world.kv, { job: JOB, agent: "long", input: STEPS });
  let view = await commit(decideClaim(started, { life: life("before"), atMs: 1 }));
  for (let from = 1; from <= STEPS_BEFORE; from += STEPS_PER_PAGE) {
    const events = Array.from({ length: STEPS_PER_PAGE }, (_, nth): JobEvent =>
      ({ type: "step.completed", call: `add#${from + nth}` as CallName, value: 1 }));
    view = await commit(decideAppend(view, { events, atMs: 2 }));
  }
  await commit(decideRelease(view, { events: [], atMs: 3 }));
}

const isOver = (): Promise<boolean> => haveEnded(world.kv, [JOB]);

async function problems(): Promise<readonly JobProblem[]> {
  return (await verify(world.kv, JOB)).problems;
}

async function chunks(): Promise<readonly KvEntry[]> {
  return (await world.kv.list({ prefix: prefixOf({ kind: "job-chunks", ...REF, run: 1 }) })).entries;
}

/** More than the job makes. */
const WRITES = Array.from({ length: 16 }, (_, index) => index + 1);

describe.each(["lost", "applied"] as const)("a node that falls silent at a write, which is %s", (fate) => {
  test.each(WRITES)("at write %i: the next one goes on, and the chunk is what the log is", async (at) => {
    const first = world.openNode("a", { dies: { at, fate } });
    await first.goOn(isOver);
    expect(first.isDead || at > first.writes).toBe(true);
    await first.close(world.kv);
    await world.openNode("b").goOn(isOver);
    expect(await resultOf(world.kv, JOB)).toEqual({ kind: "completed", output: STEPS });
    expect(await chunks()).toHaveLength(1);
    expect(await problems()).toEqual([]);
  });
});

test("the writes above are all that the job makes", async () => {
  const node = world.openNode("a");
  await node.goOn(isOver);
  expect(node.writes).toBeLessThan(WRITES.length);
  expect(node.writes).toBeGreaterThan(4);
});

describe("a check of the job", () => {
  test.each([1, 2, 700])("names the first event, %i, of which its chunk has other bytes", async (seq) => {
    await world.openNode("a").goOn(isOver);
    const { key, value } = present((await chunks())[0], "there is a chunk");
    const page = parseJobPage(value);
    const events = page.events.map((bytes, index) => (index === seq - 1 ? Uint8Array.of(...bytes, 0) : bytes));
    const put = { kind: "put", key, value: pageValue({ ...page, events }) as never } as const;
    await world.kv.transact({ compare: [], then: [put], else: [] });
    expect(await problems()).toEqual([{ seq, reason: "in its chunk it is not as it was appended" }]);
  });

  test("says which chunk cannot be read, or is of another log", async () => {
    await world.openNode("a").goOn(isOver);
    const { key, value } = present((await chunks())[0], "there is a chunk");
    await world.kv.transact({ compare: [], then: [{ kind: "put", key, value: 1 }], else: [] });
    expect(await problems()).toMatchObject([{ seq: 1, reason: expect.stringContaining("cannot be read") }]);
    const other = pageValue({ ...parseJobPage(value), prev: new Uint8Array(32) }) as never;
    await world.kv.transact({ compare: [], then: [{ kind: "put", key, value: other }], else: [] });
    expect(await problems()).toMatchObject([{ seq: 1, reason: expect.stringContaining("not of this log") }]);
  });
});
