// Timers of jobs over the real store: fired once, not before they are due, by whoever leads.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseJobId, type JobId } from "../../src/base/ids.ts";
import { dueNow } from "../../src/jobs/core/flow/due-timers.ts";
import { refOf, type CallName } from "../../src/jobs/core/ids.ts";
import { inboxCountKey, rowKey } from "../../src/jobs/core/life/job-keys.ts";
import { TimerDriver } from "../../src/jobs/inbox/timer-driver.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { formatKey, LEADER_KEY, parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import type { Compare, Op } from "../../src/kvstore/core/schema.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { endedJob, inboxOf, rowOf, sleepingJob, waitingJob } from "../support/job-rows.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { passTime } from "../support/passing-time.ts";
import { createTestTelemetry } from "../unit/api/test-telemetry.ts";

const SLEEP_MS = 600_000;
const SLEEPERS = 10_000;
const SLEEPERS_PER_TXN = 50;
const FIRED = { kind: "timer", call: "/nap#1" };

let clock: ManualClock;
let local: LocalKv;
let drivers: TimerDriver[];

beforeEach(async () => {
  clock = new ManualClock();
  local = await createLocalKv();
  drivers = [];
});

afterEach(async () => {
  for (const driver of drivers) await driver.close();
  await local.close();
});

/** Lets time pass for the driver, and it do what it then has to do: the store's time is real. */
function pass(durationMs: number): Promise<void> {
  return passTime({ clock, kv: local.kv }, durationMs);
}

interface Leading {
  /** Undefined while this node does not lead. */
  fence: Compare | undefined;
  changed(): void;
}

function openDriver(kv: Kv = local.kv, fence: Compare | undefined = unchanged(LEADER_KEY, 0)): Leading {
  const listeners: (() => void)[] = [];
  const leading: Leading = { fence, changed: () => listeners.forEach((listener) => listener()) };
  const driver = new TimerDriver({ clock, telemetry: createTestTelemetry([]) }, {
    kv,
    leadership: { fence: () => leading.fence, onChange: (listener) => listeners.push(listener) },
    onFatal: (error) => expect.unreachable(String(error)),
  });
  drivers.push(driver);
  driver.start();
  return leading;
}

async function timersLeft(): Promise<number> {
  return (await local.kv.list({ prefix: prefixOf({ kind: "job-timers" }) })).entries.length;
}

function jobs(count: number): readonly JobId[] {
  return Array.from({ length: count }, (_, at) => parseJobId(`job-${at}`));
}

describe("which are due", () => {
  test("those up to this millisecond, and then it is known when the next one is", () => {
    const timers = [1, 5, 5, 9].map((dueMs) => ({ dueMs }));
    expect(dueNow(timers, 5)).toEqual({ fire: timers.slice(0, 3), nextDueMs: 9 });
    expect(dueNow(timers, 0)).toEqual({ fire: [], nextDueMs: 1 });
    expect(dueNow(timers, 9)).toEqual({ fire: timers, nextDueMs: undefined });
  });
});

describe("the leader", () => {
  test("wakes a job when its time has come, and not before (JOB10)", async () => {
    const job = parseJobId("job-1");
    openDriver();
    await pass(0);
    await sleepingJob(local.kv, job, clock.wallMs() + 60_000);
    await pass(59_999);
    expect([await inboxOf(local.kv, job), (await rowOf(local.kv, job)).status]).toEqual([[], "waiting"]);
    await pass(1);
    expect([await inboxOf(local.kv, job), (await rowOf(local.kv, job)).status]).toEqual([[FIRED], "pending"]);
    expect(await timersLeft()).toBe(0);
  });

  test("hears of a timer that is set for earlier than all others", async () => {
    const [late, early] = [parseJobId("late"), parseJobId("early")];
    await sleepingJob(local.kv, late, clock.wallMs() + 8_000);
    openDriver();
    await pass(0);
    await sleepingJob(local.kv, early, clock.wallMs() + 50);
    await pass(50);
    expect(await inboxOf(local.kv, early)).toEqual([FIRED]);
    expect(await inboxOf(local.kv, late)).toEqual([]);
  });

  test("fires many at once, each once, and reads pages of them, not jobs", async () => {
    const all = jobs(300);
    for (const job of all) await sleepingJob(local.kv, job, clock.wallMs() + 1_000);
    const sleeper = parseJobId("sleeper");
    await sleepingJob(local.kv, sleeper, clock.wallMs() + 3_600_000);
    let lists = 0;
    const list: Kv["list"] = (query, options) => {
      lists++;
      return local.kv.list(query, options);
    };
    openDriver({ ...storeOf(local.kv), list });
    await pass(1_000);
    for (const job of all) expect(await inboxOf(local.kv, job)).toEqual([FIRED]);
    expect(await timersLeft()).toBe(1);
    lists = 0;
    await pass(600_000);
    expect(await inboxOf(local.kv, sleeper)).toEqual([]);
    // A look every 10 s, whatever sleeps.
    expect(lists).toBeLessThanOrEqual(61);
  });

  test("reads no more while ten thousand sleep, and then what is due", { timeout: 120_000 }, async () => {
    const startMs = clock.wallMs();
    await sleepingJob(local.kv, "s-0", startMs + SLEEP_MS);
    const row = await rowOf(local.kv, parseJobId("s-0"));
    for (let at = 1; at < SLEEPERS; at += SLEEPERS_PER_TXN) {
      const some = Array.from({ length: Math.min(SLEEPERS_PER_TXN, SLEEPERS - at) }, (_, index) => at + index);
      const then = some.flatMap((n): readonly Op[] => {
        const ref = refOf(parseJobId(`s-${n}`));
        const key = formatKey({ kind: "job-timer", ...ref, dueMs: startMs + SLEEP_MS + n * 10, name: "/nap#1" });
        return [{ kind: "put", key: rowKey(ref), value: row }, { kind: "put", key, value: { call: "/nap#1" } }];
      });
      await local.kv.transact({ compare: [], then, else: [] });
    }
    const read = { looks: 0, rows: 0, gets: 0 };
    openDriver({
      ...storeOf(local.kv),
      get: (key, options) => {
        read.gets++;
        return local.kv.get(key, options);
      },
      list: async (query, options) => {
        const page = await local.kv.list(query, options);
        read.looks++;
        read.rows += page.entries.length;
        return page;
      },
    });
    await pass(SLEEP_MS - 10_000);
    // A look every ten seconds, at the first page.
    expect(read.looks).toBeLessThanOrEqual(SLEEP_MS / 10_000 + 1);
    expect(read.rows).toBeLessThanOrEqual(read.looks * 128);
    expect(read.gets).toBe(0);
    Object.assign(read, { looks: 0, rows: 0, gets: 0 });
    // A hundred each second.
    for (let second = 0; second < 15; second++) await pass(1_000);
    const { entries: [first] } = await local.kv.list({ prefix: prefixOf({ kind: "job-timers" }), limit: 1 });
    const key = parseKey(first?.key ?? "");
    const fired = key.kind === "job-timer" ? (key.dueMs - startMs - SLEEP_MS) / 10 : SLEEPERS;
    expect(fired).toBeGreaterThanOrEqual(499);
    expect(fired).toBeLessThanOrEqual(510);
    expect(await inboxOf(local.kv, parseJobId(`s-${fired - 1}`))).toEqual([FIRED]);
    expect(await inboxOf(local.kv, parseJobId(`s-${fired}`))).toEqual([]);
    expect(read.gets).toBeLessThanOrEqual(fired * 4);
    expect(read.looks).toBeLessThanOrEqual(fired * 2);
  });

  test("and another one that thinks it leads fire a timer once", async () => {
    for (const job of jobs(20)) await sleepingJob(local.kv, job, clock.wallMs() + 1_000);
    openDriver();
    openDriver();
    await pass(2_000);
    for (const job of jobs(20)) expect(await inboxOf(local.kv, job)).toEqual([FIRED]);
  });

  test("that was deposed fires nothing; the next one begins at once", async () => {
    const job = parseJobId("job-1");
    await sleepingJob(local.kv, job, clock.wallMs() + 1_000);
    openDriver(local.kv, unchanged(LEADER_KEY, 7));
    const next = openDriver(local.kv);
    next.fence = undefined;
    await pass(5_000);
    expect(await inboxOf(local.kv, job)).toEqual([]);
    next.fence = unchanged(LEADER_KEY, 0);
    next.changed();
    await pass(0);
    expect(await inboxOf(local.kv, job)).toEqual([FIRED]);
  });

  test("drops the timers of jobs that have ended or are gone", async () => {
    await endedJob(local.kv, "job-1");
    const value = { call: "/nap#1" as CallName };
    for (const job of ["job-1", "gone"]) {
      const key = timerKey(parseJobId(job));
      await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
    }
    openDriver();
    await pass(0);
    expect(await timersLeft()).toBe(0);
  });

  test("tries the timers of a job with a full inbox less and less often, and fires all others meanwhile", async () => {
    const full = parseJobId("full");
    const calls = Array.from({ length: 130 }, (_, at) => `nap#${at}` as CallName);
    await waitingJob(local.kv, full, { reason: "timer", on: ["call:nap#1"] },
      calls.map((call) => ({ dueMs: clock.wallMs() - 1, name: call, call })).slice(0, 100));
    await waitingJob(local.kv, "full-2", { reason: "timer", on: ["call:nap#1"] },
      calls.map((call) => ({ dueMs: clock.wallMs() - 1, name: call, call })).slice(0, 100));
    for (const job of [full, parseJobId("full-2")]) {
      const key = inboxCountKey(refOf(job));
      await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: { last: 1_000 } }], else: [] });
    }
    const other = parseJobId("other");
    await sleepingJob(local.kv, other, clock.wallMs());
    let reads = 0;
    const get: Kv["get"] = (key, options) => {
      if (key === inboxCountKey(refOf(full))) reads++;
      return local.kv.get(key, options);
    };
    openDriver({ ...storeOf(local.kv), get });
    await pass(0);
    expect(await inboxOf(local.kv, other)).toEqual([FIRED]);
    reads = 0;
    for (let at = 0; at < 60; at++) await pass(1_000);
    // Each of 100 timers some ten times in a minute, and not every 100 ms.
    expect(reads).toBeLessThan(100 * 15);
    expect(reads).toBeGreaterThan(100);
    expect(await timersLeft()).toBe(200);
  });

  test("passes over a damaged row", async () => {
    const job = parseJobId("job-1");
    const key = timerKey(parseJobId("job-0"));
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: 7 }], else: [] });
    await sleepingJob(local.kv, job, clock.wallMs());
    openDriver();
    await pass(0);
    expect(await inboxOf(local.kv, job)).toEqual([FIRED]);
  });
});

function timerKey(job: JobId): ReturnType<typeof formatKey> {
  return formatKey({ kind: "job-timer", ...refOf(job), dueMs: 1, name: "/nap#1" });
}

function storeOf(kv: Kv): Kv {
  return {
    get: (key, options) => kv.get(key, options),
    list: (query, options) => kv.list(query, options),
    transact: (txn, options) => kv.transact(txn, options),
    watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
    get revision() {
      return kv.revision;
    },
    get oldestRevision() {
      return kv.oldestRevision;
    },
  };
}
