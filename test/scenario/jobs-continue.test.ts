// Jobs that begin afresh under their id, over the real store: the node that runs one falls silent at each of its
// writes, before or after the write, and another node goes on. Every run's calls are made once, each with its own name.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import { parseJobId } from "../../src/base/ids.ts";
import { refOf, type CallName } from "../../src/jobs/core/ids.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import type { Op } from "../../src/kvstore/core/schema.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { defineSignal } from "../../src/sdk/signal.ts";
import { defineTool } from "../../src/sdk/tool.ts";
import { verify } from "../support/exported-job.ts";
import { jobStore, startJob } from "../support/job-log.ts";
import { haveEnded, type Death } from "../support/job-node.ts";
import { resultOf } from "../support/job-rows.ts";
import { JobsWorld } from "../support/jobs-world.ts";

const JOB = parseJobId("poller-1");
const REF = refOf(JOB);
const RUNS = 3;

const go = defineSignal("go", z.number());
/** What reached the world outside, by effect id. */
let sent: string[];
const pay = defineTool({
  name: "pay", input: z.number(), output: z.string(), effect: "idempotent",
  execute: (_run, { effectId }) => {
    if (!sent.includes(effectId)) sent.push(effectId);
    return effectId;
  },
});
const state = z.object({ run: z.number(), seen: z.array(z.string()) });
const polling = defineAgent({
  name: "polling", input: state, output: state, tools: { pay },
  run: async (job, { run, seen }) => {
    const noted = await job.step("note", () => `step ${run}`);
    const paid = await job.tools.pay(run);
    const next = { run: run + 1, seen: [...seen, noted, job.uuid(), paid] };
    return run === RUNS ? next : await job.continueAs(next);
  },
});
/** Hears a signal in each of its runs, or does not hear it in time. */
const hearing = defineAgent({
  name: "hearing", input: state, output: state,
  run: async (job, { run, seen }) => {
    const heard = await job.waitFor(go, { timeout: "1 hour" });
    const next = { run: run + 1, seen: [...seen, String(heard)] };
    return run === RUNS ? next : await job.continueAs(next);
  },
});
const child = defineAgent({
  name: "napping", input: z.number(), output: z.number(),
  run: async (job, input) => {
    await job.sleep("nap", "1 hour");
    return input;
  },
});
/** Says why it could not continue. */
const hasty = defineAgent({
  name: "hasty", input: state, output: state,
  run: async (job, { run, seen }) => {
    if (run > 1) return { run, seen };
    const wrong = await job.continueAs({ run: "two" } as never).catch((error: unknown) => String(error));
    const napping = job.child(child, 1, { timeout: "2 s" }).catch(() => "over");
    const early = await job.continueAs({ run: 2, seen }).catch((error: unknown) => String(error));
    await napping;
    return await job.continueAs({ run: 2, seen: [wrong, early] });
  },
});
const AGENTS: readonly Agent[] = [polling, hearing, child, hasty];

const world = new JobsWorld(AGENTS);
beforeEach(freshWorld);
afterEach(() => world.close());

async function freshWorld(): Promise<void> {
  await world.begin();
  sent = [];
}

async function start(agent: string): Promise<void> {
  await startJob(world.kv, { job: JOB, agent, input: { run: 1, seen: [] } });
}

const isOver = (): Promise<boolean> => haveEnded(world.kv, [JOB]);

async function seen(): Promise<readonly string[]> {
  const result = await resultOf(world.kv, JOB);
  return result.kind === "completed" ? state.parse(result.output).seen : [JSON.stringify(result)];
}

async function write(...then: readonly Op[]): Promise<void> {
  await world.kv.transact({ compare: [], then, else: [] });
}

/** Runs the job with a first node that dies at this write, if it comes to it; answers whether it does. */
async function play(dies?: Death): Promise<boolean> {
  await freshWorld();
  await start("polling");
  const first = world.openNode("a", { dies });
  await first.goOn(isOver);
  const hasDied = first.isDead;
  await first.close(world.kv);
  expect((await verify(world.kv, JOB)).problems, `write ${dies?.at}`).toEqual([]);
  await world.openNode("b").goOn(isOver);
  return hasDied;
}

describe("a node that falls silent at any of its writes, which are lost or applied", () => {
  test.each(["lost", "applied"] as const)("%s: each run begins once, and does its own calls", async (fate) => {
    await play();
    const calm = await seen();
    // Steps, derived values and effect ids are those of their run.
    expect(new Set(calm).size).toBe(3 * RUNS);
    let at = 1;
    for (; await play({ at, fate }); at++) {
      expect(await seen(), `write ${at}`).toEqual(calm);
      expect(sent, `write ${at}`).toEqual(calm.filter((_, index) => index % 3 === 2));
      expect(await verify(world.kv, JOB)).toMatchObject({ runs: RUNS, problems: [] });
    }
    expect(at).toBeGreaterThan(3 * RUNS);
  });
});

describe("the next run", () => {
  test("hears what nobody has waited for, and nothing that was meant for the run before", async () => {
    await start("hearing");
    const node = world.openNode("a");
    await node.signal(JOB, go.name, 1);
    await node.signal(JOB, go.name, 2);
    // A timer of the first run that comes late.
    await node.tell(JOB, { kind: "timer", call: `${go.name}#1` as CallName });
    await node.goOn(async () => (await jobStore(world.clock, world.kv).load(REF)).view.row.status === "waiting");
    const { view } = await jobStore(world.clock, world.kv).load(REF);
    expect(view.row).toMatchObject({ run: 3, waiting: { on: ["signal:go", "call:@3/go#1"] } });
    await node.signal(JOB, go.name, 3);
    await node.goOn(isOver);
    expect(await seen()).toEqual(["1", "2", "3"]);
  });

  test("begins when nothing is under way any more, with an input that the agent takes", async () => {
    await start("hasty");
    await world.openNode("a").goOn(isOver);
    const [wrong, early] = await seen();
    expect(wrong).toContain("expected number");
    expect(early).toContain('"napping#1"');
  });

  test("is read without those before it", async () => {
    await start("polling");
    await world.openNode("a").goOn(isOver);
    const { log, tools } = await jobStore(world.clock, world.kv).load(REF);
    expect(tools.map(({ call }) => call)).toEqual(["@3/pay#1"]);
    expect(log.length).toBeLessThan(10);
  });
});

describe("a check of all runs", () => {
  test.each([1, 2, 3])("names the run %i and the first event that is not as it was", async (run) => {
    await start("polling");
    await world.openNode("a").goOn(isOver);
    const { entries: [, second] } = await world.kv.list({ prefix: prefixOf({ kind: "job-log", ...REF, run }) });
    await write({ kind: "delete", key: present(second, "it has more than one append").key });
    expect((await verify(world.kv, JOB)).problems[0]).toMatchObject({ run, seq: 2 });
  });

  test("misses the row of a run, and one that was exchanged", async () => {
    await start("polling");
    await world.openNode("a").goOn(isOver);
    const { entries: [first, second] } = await world.kv.list({ prefix: prefixOf({ kind: "job-runs", ...REF }) });
    const key = present(first, "there is a row of the first run").key;
    await write({ kind: "put", key, value: present(second, "and one of the second").value });
    expect((await verify(world.kv, JOB)).problems[0]).toMatchObject({ run: 1 });
    await write({ kind: "delete", key });
    expect((await verify(world.kv, JOB)).problems).toContainEqual({
      run: 2, reason: "the row of this run stands where no such row can be",
    });
  });
});
