// Jobs that take longer than they may, over the real store: the deadline reaches them once, wherever they are by then,
// and they end as by a cancel, but failed, whoever runs them.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { parseJobId } from "../../src/base/ids.ts";
import { SECOND_MS } from "../../src/base/units.ts";
import type { JobProblem } from "../../src/jobs/core/explain/job-problems.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { TIME_IS_OVER } from "../../src/jobs/core/life/deadline.ts";
import { heldRow } from "../../src/jobs/core/life/hold.ts";
import { inboxCountKey, rowKey } from "../../src/jobs/core/life/job-keys.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { JobsDrive } from "../../src/jobs/doors/jobs-drive.ts";
import { TimerDriver } from "../../src/jobs/inbox/timer-driver.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { LEADER_KEY, parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { verify } from "../support/exported-job.ts";
import { startJob } from "../support/job-log.ts";
import { haveEnded } from "../support/job-node.ts";
import { eventsOf, inboxOf, resultOf, rowOf } from "../support/job-rows.ts";
import { JobsWorld } from "../support/jobs-world.ts";
import { payloadsIn } from "../support/kept-payloads.ts";
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

const world = new JobsWorld(AGENTS);
let driver: TimerDriver;

beforeEach(openWorld);
afterEach(closeWorld);

async function openWorld(): Promise<void> {
  await world.begin();
  driver = new TimerDriver({ clock: world.clock, telemetry: SILENT_TELEMETRY }, {
    kv: world.kv,
    leadership: { fence: () => unchanged(LEADER_KEY, 0), onChange: () => undefined },
    onFatal: (error) => expect.unreachable(String(error)),
  });
  driver.start();
}

async function closeWorld(): Promise<void> {
  await driver.close();
  await world.close();
}

async function start(agent: string): Promise<void> {
  await startJob(world.kv, {
    job: JOB, agent, input: 1, needs: { maxDurationMs: MAX_MS }, atMs: world.clock.wallMs(),
  });
}

const hasEnded = (): Promise<boolean> => haveEnded(world.kv, [JOB]);

async function events(): Promise<readonly JobEvent[]> {
  return (await eventsOf(world.kv, JOB)).map(({ event }) => event);
}

const isAsked = async (): Promise<boolean> => (await events()).some(({ type }) => type === "job.cancel-requested");

async function deadlinesLeft(): Promise<number> {
  const { entries } = await world.kv.list({ prefix: prefixOf({ kind: "job-timers" }) });
  return entries.filter(({ key: text }) => {
    const key = parseKey(text);
    return key.kind === "job-timer" && key.name === "deadline";
  }).length;
}

async function problems(): Promise<readonly JobProblem[]> {
  return (await verify(world.kv, JOB)).problems;
}

describe("the deadline of a job", () => {
  test("wakes one that waits: it may tidy up, and has failed", async () => {
    await start("sleeping");
    expect(await deadlinesLeft()).toBe(1);
    await world.openNode("a").goOn(hasEnded);
    expect(await resultOf(world.kv, JOB)).toEqual(OVERDUE);
    const log = await events();
    expect(log.filter(({ type }) => type === "job.cancel-requested")).toEqual([
      { type: "job.cancel-requested", principal: "aether", reason: "deadline" },
    ]);
    expect(log.filter(({ type }) => type === "step.completed")).toHaveLength(2);
    expect([await deadlinesLeft(), await problems()]).toEqual([0, []]);
  });

  test("reaches one in the middle of its work", async () => {
    await start("working");
    const node = world.openNode("a");
    await node.goOn(async () => (await inboxOf(world.kv, JOB)).length > 0 || await isAsked());
    expect((await events()).some(({ type }) => type === "job.waiting")).toBe(false);
    await node.goOn(hasEnded);
    expect([await resultOf(world.kv, JOB), await deadlinesLeft()]).toEqual([OVERDUE, 0]);
  });

  test("is there for one that no node has run", async () => {
    await start("sleeping");
    await passTime(world, MAX_MS - 1);
    expect(await inboxOf(world.kv, JOB)).toEqual([]);
    await passTime(world, 60 * SECOND_MS);
    expect([await inboxOf(world.kv, JOB), (await rowOf(world.kv, JOB)).status]).toEqual([[TIME_IS_OVER], "pending"]);
    await world.openNode("a").goOn(hasEnded);
    expect(await resultOf(world.kv, JOB)).toEqual(OVERDUE);
  });

  test("comes into an inbox that is full", async () => {
    await start("sleeping");
    const key = inboxCountKey(refOf(JOB));
    await world.kv.transact({ compare: [], then: [{ kind: "put", key, value: { last: 1_000 } }], else: [] });
    await passTime(world, MAX_MS);
    expect([await inboxOf(world.kv, JOB).catch(() => []), await deadlinesLeft()]).toEqual([[TIME_IS_OVER], 0]);
  });

  test("does not end one that is held since a restore before it is released", async () => {
    await start("sleeping");
    const held = heldRow(await rowOf(world.kv, JOB), { seq: 1, inbox: 0 });
    await world.kv.transact({
      compare: [],
      then: [
        { kind: "put", key: rowKey(refOf(JOB)), value: held },
        { kind: "delete", key: `job-queue/000/${JOB}` as never },
      ],
      else: [],
    });
    await passTime(world, 60 * SECOND_MS);
    expect(await inboxOf(world.kv, JOB)).toEqual([TIME_IS_OVER]);
    expect(await rowOf(world.kv, JOB)).toMatchObject({ status: "waiting", waiting: { reason: "restored" } });
    const inbox = new InboxWriter(world, { kv: world.kv, onFatal: (error) => expect.unreachable(String(error)) });
    const pins = { definitionOf: async () => undefined };
    const { clock, kv } = world;
    await new JobsDrive({ clock, kv, inbox, payloads: payloadsIn(kv), pins }).release(JOB, ANN);
    await inbox.close();
    await world.openNode("a").goOn(hasEnded);
    expect(await resultOf(world.kv, JOB)).toEqual(OVERDUE);
  });

  test("ends one whose code does not listen, also when its node changes meanwhile", async () => {
    await start("deaf");
    const first = world.openNode("a");
    await first.goOn(isAsked);
    await first.close(world.kv);
    const askedMs = world.clock.wallMs();
    await world.openNode("b").goOn(hasEnded);
    expect(await resultOf(world.kv, JOB)).toEqual(OVERDUE);
    expect(world.clock.wallMs() - askedMs).toBeGreaterThanOrEqual(30 * SECOND_MS);
    expect((await events()).filter(({ type }) => type === "job.cancel-requested")).toHaveLength(1);
  });

  test("and a cancel: how it ends is a matter of which came first", async () => {
    await start("deaf");
    const node = world.openNode("a");
    await node.goOn(async () => (await events()).some(({ type }) => type === "job.claimed"));
    await node.cancel(JOB);
    await node.goOn(hasEnded);
    expect([await resultOf(world.kv, JOB), await deadlinesLeft()]).toEqual([{ kind: "cancelled" }, 0]);
    await closeWorld();

    await openWorld();
    await start("deaf");
    const other = world.openNode("a");
    await other.goOn(isAsked);
    await other.cancel(JOB);
    await other.goOn(hasEnded);
    expect(await resultOf(world.kv, JOB)).toEqual(OVERDUE);
  });

  test("holds wherever its node falls silent", async () => {
    await start("sleeping");
    const whole = world.openNode("a");
    await whole.goOn(hasEnded);
    const { writes } = whole;
    await closeWorld();
    for (let at = 1; at <= writes; at++) {
      for (const fate of ["lost", "applied"] as const) {
        await openWorld();
        await start("sleeping");
        const dying = world.openNode("a", { dies: { at, fate } });
        await dying.goOn(hasEnded);
        await dying.close(world.kv);
        await world.openNode("b").goOn(hasEnded);
        expect(await resultOf(world.kv, JOB), `write ${at} ${fate}`).toEqual(OVERDUE);
        const log = await events();
        expect(log.filter(({ type }) => type === "job.cancel-requested"), `write ${at} ${fate}`).toHaveLength(1);
        expect([await deadlinesLeft(), await problems()], `write ${at} ${fate}`).toEqual([0, []]);
        await closeWorld();
      }
    }
    await openWorld();
  });
});
