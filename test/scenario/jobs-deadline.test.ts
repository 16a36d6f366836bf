// Jobs that take longer than they may, over the real store: the deadline reaches them once, wherever they are by then,
// and they end as by a cancel, but failed, whoever runs them.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { parseJobId } from "../../src/base/ids.ts";
import { SECOND_MS } from "../../src/base/units.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { TIME_IS_OVER } from "../../src/jobs/core/life/deadline.ts";
import { heldRow } from "../../src/jobs/core/life/hold.ts";
import { inboxCountKey, resultKey, rowKey } from "../../src/jobs/core/life/job-keys.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { readEvent } from "../../src/jobs/core/log/upcast.ts";
import { parseJobResult } from "../../src/jobs/core/rows.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { JobExport } from "../../src/jobs/doors/job-export.ts";
import { JobsDrive } from "../../src/jobs/doors/jobs-drive.ts";
import { TimerDriver } from "../../src/jobs/inbox/timer-driver.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { LEADER_KEY, parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { verdictOf } from "../support/exported-job.ts";
import { haveEnded, JobNode } from "../support/job-node.ts";
import { jobStore, putPin, startJob } from "../support/job-log.ts";
import { inboxOf, rowOf } from "../support/job-rows.ts";
import { payloadsIn } from "../support/kept-payloads.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { passTime } from "../support/passing-time.ts";

const JOB = parseJobId("long-1");
const ANN = { principal: "ann", tenant: "default" };
const MAX_MS = 2 * SECOND_MS;
const OVERDUE = {
  kind: "failed",
  error: {
    name: "AetherError", code: "E_TIMEOUT", message: "the job took longer than its longest duration of 2 seconds",
  },
};

const sleeping = defineAgent({
  name: "sleeping", input: z.number(), output: z.null(),
  run: async (job) => {
    await job.step("before", () => 1);
    try {
      await job.sleep("nap", "1 hour");
    } finally {
      await job.step("tidy up", () => 2);
    }
    return null;
  },
});
/** Goes on whatever it is told. */
const deaf = defineAgent({
  name: "deaf", input: z.number(), output: z.null(),
  run: async (job) => {
    // ignored: that is what is tested.
    await job.sleep("nap", "1 hour").catch(() => undefined);
    return await new Promise<null>(() => undefined);
  },
});
const working = defineAgent({
  name: "working", input: z.number(), output: z.null(),
  run: (job) => job.step("work", () => new Promise<null>(() => undefined)),
});
const AGENTS: readonly Agent[] = [sleeping, deaf, working];

let clock: ManualClock;
let local: LocalKv;
let nodes: JobNode[];
let driver: TimerDriver;

beforeEach(openWorld);
afterEach(closeWorld);

async function openWorld(): Promise<void> {
  clock = new ManualClock();
  local = await createLocalKv();
  nodes = [];
  await putPin(local.kv);
  driver = new TimerDriver({ clock, telemetry: SILENT_TELEMETRY }, {
    kv: local.kv,
    leadership: { fence: () => unchanged(LEADER_KEY, 0), onChange: () => undefined },
    onFatal: (error) => expect.unreachable(String(error)),
  });
  driver.start();
}

async function closeWorld(): Promise<void> {
  for (const node of nodes) await node.close(local.kv);
  await driver.close();
  await local.close();
}

function openNode(name: string, dies?: { readonly at: number; readonly fate: "lost" | "applied" }): JobNode {
  const node = new JobNode({ name, clock, kv: local.kv, agents: AGENTS, ...(dies !== undefined && { dies }) });
  nodes.push(node);
  return node;
}

async function start(agent: string): Promise<void> {
  await startJob(local.kv, {
    job: JOB, agent, input: 1, needs: { maxDurationMs: MAX_MS }, atMs: clock.wallMs(),
  });
}

/** Lets time pass while no node runs jobs. */
function pass(durationMs: number): Promise<void> {
  return passTime(clock, local, durationMs);
}

const hasEnded = (): Promise<boolean> => haveEnded(local.kv, [JOB]);

async function events(): Promise<readonly JobEvent[]> {
  const { log } = await jobStore(clock, local.kv).load(refOf(JOB));
  return log.map((bytes) => readEvent(bytes).event);
}

const isAsked = async (): Promise<boolean> => (await events()).some(({ type }) => type === "job.cancel-requested");

async function result(): Promise<unknown> {
  return parseJobResult((await local.kv.get(resultKey(refOf(JOB)))).entry?.value);
}

async function deadlinesLeft(): Promise<number> {
  const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "job-timers" }) });
  return entries.filter(({ key: text }) => {
    const key = parseKey(text);
    return key.kind === "job-timer" && key.name === "deadline";
  }).length;
}

async function problems(): Promise<readonly unknown[]> {
  const lines: string[] = [];
  for await (const line of await new JobExport(local.kv).open(JOB)) lines.push(line.slice(0, -1));
  return verdictOf(lines).problems;
}

describe("the deadline of a job", () => {
  test("wakes one that waits: it may tidy up, and has failed", async () => {
    await start("sleeping");
    expect(await deadlinesLeft()).toBe(1);
    await openNode("a").goOn(hasEnded);
    expect(await result()).toEqual(OVERDUE);
    const log = await events();
    expect(log.filter(({ type }) => type === "job.cancel-requested")).toEqual([
      { type: "job.cancel-requested", principal: "aether", reason: "deadline" },
    ]);
    expect(log.filter(({ type }) => type === "step.completed")).toHaveLength(2);
    expect([await deadlinesLeft(), await problems()]).toEqual([0, []]);
  });

  test("reaches one in the middle of its work", async () => {
    await start("working");
    const node = openNode("a");
    await node.goOn(async () => (await inboxOf(local.kv, JOB)).length > 0 || await isAsked());
    expect((await events()).some(({ type }) => type === "job.waiting")).toBe(false);
    await node.goOn(hasEnded);
    expect([await result(), await deadlinesLeft()]).toEqual([OVERDUE, 0]);
  });

  test("is there for one that no node has run", async () => {
    await start("sleeping");
    await pass(MAX_MS - 1);
    expect(await inboxOf(local.kv, JOB)).toEqual([]);
    await pass(60 * SECOND_MS);
    expect([await inboxOf(local.kv, JOB), (await rowOf(local.kv, JOB)).status]).toEqual([[TIME_IS_OVER], "pending"]);
    await openNode("a").goOn(hasEnded);
    expect(await result()).toEqual(OVERDUE);
  });

  test("comes into an inbox that is full", async () => {
    await start("sleeping");
    const key = inboxCountKey(refOf(JOB));
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: { last: 1_000 } }], else: [] });
    await pass(MAX_MS);
    expect([await inboxOf(local.kv, JOB).catch(() => []), await deadlinesLeft()]).toEqual([[TIME_IS_OVER], 0]);
  });

  test("does not end one that is held since a restore before it is released", async () => {
    await start("sleeping");
    const held = heldRow(await rowOf(local.kv, JOB), { seq: 1, inbox: 0 });
    await local.kv.transact({
      compare: [],
      then: [
        { kind: "put", key: rowKey(refOf(JOB)), value: held },
        { kind: "delete", key: `job-queue/000/${JOB}` as never },
      ],
      else: [],
    });
    await pass(60 * SECOND_MS);
    expect(await inboxOf(local.kv, JOB)).toEqual([TIME_IS_OVER]);
    expect(await rowOf(local.kv, JOB)).toMatchObject({ status: "waiting", waiting: { reason: "restored" } });
    const inbox = new InboxWriter({ clock }, { kv: local.kv, onFatal: (error) => expect.unreachable(String(error)) });
    const pins = { definitionOf: async () => undefined };
    await new JobsDrive({ clock, kv: local.kv, inbox, payloads: payloadsIn(local.kv), pins }).release(JOB, ANN);
    await inbox.close();
    await openNode("a").goOn(hasEnded);
    expect(await result()).toEqual(OVERDUE);
  });

  test("ends one whose code does not listen, also when its node changes meanwhile", async () => {
    await start("deaf");
    const first = openNode("a");
    await first.goOn(isAsked);
    await first.close(local.kv);
    const askedMs = clock.wallMs();
    await openNode("b").goOn(hasEnded);
    expect(await result()).toEqual(OVERDUE);
    expect(clock.wallMs() - askedMs).toBeGreaterThanOrEqual(30 * SECOND_MS);
    expect((await events()).filter(({ type }) => type === "job.cancel-requested")).toHaveLength(1);
  });

  test("and a cancel: how it ends is a matter of which came first", async () => {
    await start("deaf");
    const node = openNode("a");
    await node.goOn(async () => (await events()).some(({ type }) => type === "job.claimed"));
    await node.cancel(JOB);
    await node.goOn(hasEnded);
    expect([await result(), await deadlinesLeft()]).toEqual([{ kind: "cancelled" }, 0]);
    await closeWorld();

    await openWorld();
    await start("deaf");
    const other = openNode("a");
    await other.goOn(isAsked);
    await other.cancel(JOB);
    await other.goOn(hasEnded);
    expect(await result()).toEqual(OVERDUE);
  });

  test("holds wherever its node falls silent", async () => {
    await start("sleeping");
    const whole = openNode("a");
    await whole.goOn(hasEnded);
    const { writes } = whole;
    await closeWorld();
    for (let at = 1; at <= writes; at++) {
      for (const fate of ["lost", "applied"] as const) {
        await openWorld();
        await start("sleeping");
        const dying = openNode("a", { at, fate });
        await dying.goOn(hasEnded);
        await dying.close(local.kv);
        await openNode("b").goOn(hasEnded);
        expect(await result(), `write ${at} ${fate}`).toEqual(OVERDUE);
        const log = await events();
        expect(log.filter(({ type }) => type === "job.cancel-requested"), `write ${at} ${fate}`).toHaveLength(1);
        expect([await deadlinesLeft(), await problems()], `write ${at} ${fate}`).toEqual([0, []]);
        await closeWorld();
      }
    }
    await openWorld();
  });
});
