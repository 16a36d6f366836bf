// Decisions about what jobs ask, over the real store: one for each approval, whatever comes at the same moment.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { parseJobId, type JobId } from "../../src/base/ids.ts";
import { Approvals } from "../../src/jobs/doors/approvals.ts";
import { refOf, type CallName } from "../../src/jobs/core/ids.ts";
import { OpenApprovals } from "../../src/jobs/core/run/open-approvals.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import type { DecideApproval } from "../../src/jobs/ports.ts";
import { TimerDriver } from "../../src/jobs/inbox/timer-driver.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { LEADER_KEY } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { atEveryCall, interleavedKv } from "../support/interleaved-kv.ts";
import { endedJob, inboxOf, jobWith, rowOf, waitingJob } from "../support/job-rows.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { createTestTelemetry } from "../unit/api/test-telemetry.ts";

const ANN = { principal: "ann", tenant: "default" };
const BOB = { principal: "bob", tenant: "default" };
const JOB = parseJobId("job-1");
const CALL = "manager#1" as CallName;
const SHOWN = sha256("shown");
const YES: DecideApproval = { approval: "manager", approved: true, data: { note: 1 } };
const NO: DecideApproval = { approval: CALL, approved: false, data: null };

const clock = createRealClock();
let local: LocalKv;
let opened: { close(): Promise<void> }[];

beforeEach(async () => {
  local = await createLocalKv();
  opened = [];
});

afterEach(async () => {
  for (const part of opened) await part.close();
  await local.close();
});

/** What one node has for it. */
function openApprovals(kv: Kv = local.kv): Approvals {
  const inbox = new InboxWriter({ clock }, { kv, onFatal: (error) => expect.unreachable(String(error)) });
  opened.push(inbox);
  return new Approvals({ clock }, { kv, inbox });
}

function requested(call: CallName, over: Partial<Extract<JobEvent, { type: "approval.requested" }>> = {}): JobEvent {
  return { type: "approval.requested", call, name: "manager", summary: "?", data: { cents: 5 }, shown: SHOWN, ...over };
}

/** A job that its owner runs, whose code asks this. */
async function askingJob(job: JobId, ...events: readonly JobEvent[]): Promise<void> {
  const also = new OpenApprovals().changes(events, { ref: refOf(job), agent: "claims", atMs: 1 }, false);
  await jobWith(local.kv, job, { events, also });
}

describe("a decision", () => {
  test("goes to the job, once, and whoever comes second hears who was first and when", async () => {
    await askingJob(JOB, requested(CALL));
    const approvals = openApprovals();
    const [asked] = (await approvals.approvals({})).approvals;
    expect(asked).toMatchObject({ job: JOB, call: CALL, row: { agent: "claims", summary: "?", data: { cents: 5 } } });
    expect(await approvals.decide(JOB, YES, ANN)).toEqual({ job: JOB, call: CALL, approved: true });
    const late = { code: "E_CONFLICT", details: { by: "ann", how: "approved" }, outcome: "not-applied" };
    for (const decision of [NO, YES]) await expect(approvals.decide(JOB, decision, BOB)).rejects.toMatchObject(late);
    expect(await inboxOf(local.kv, JOB)).toEqual([
      { kind: "decision", call: CALL, shown: SHOWN, approved: true, data: { note: 1 }, principal: "ann" },
    ]);
    expect((await approvals.approvals({})).approvals).toEqual([]);
  });

  test("wakes a job that waits for it", async () => {
    await waitingJob(local.kv, JOB, { reason: "approval", on: [`approval:${CALL}`] });
    const also = new OpenApprovals().changes([requested(CALL)], { ref: refOf(JOB), agent: "a", atMs: 1 }, false);
    await local.kv.transact({ compare: [], then: also, else: [] });
    await openApprovals().decide(JOB, YES, ANN);
    expect((await rowOf(local.kv, JOB)).status).toBe("pending");
  });

  test("of one key is one decision, however often it is sent, also when the next approval waits", async () => {
    await askingJob(JOB, requested(CALL), requested("manager#2" as CallName, { name: "director" }));
    const [first, second] = [openApprovals(), openApprovals()];
    const keyed = { ...YES, idempotencyKey: "k" };
    await Promise.all([first, second, first].map((node) => node.decide(JOB, keyed, ANN)));
    await second.decide(JOB, keyed, ANN);
    expect(await inboxOf(local.kv, JOB)).toHaveLength(1);
    await expect(first.decide(JOB, { ...keyed, idempotencyKey: "l" }, ANN)).rejects.toMatchObject({
      code: "E_CONFLICT",
    });
  });

  test("is about what was shown, and names which of several", async () => {
    const [one, two] = ["a#1/manager#1", "b#1/manager#1"] as CallName[];
    if (one === undefined || two === undefined) return expect.unreachable();
    await askingJob(JOB, requested(one), requested(two));
    const approvals = openApprovals();
    await expect(approvals.decide(JOB, YES, ANN)).rejects.toMatchObject({
      code: "E_INVALID", message: expect.stringContaining(`${one}, ${two}`) as unknown,
    });
    const other = { ...YES, approval: two, shown: sha256("other") };
    await expect(approvals.decide(JOB, other, ANN)).rejects.toMatchObject({ code: "E_CONFLICT" });
    expect(await approvals.decide(JOB, { ...other, shown: SHOWN }, ANN)).toMatchObject({ call: two });
    // The other one still waits under their name.
    expect(await approvals.decide(JOB, NO_NAMED, BOB)).toMatchObject({ call: one, approved: false });
  });

  test("is refused where nobody asks", async () => {
    const approvals = openApprovals();
    await expect(approvals.decide(JOB, YES, ANN)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await askingJob(JOB, requested(CALL));
    await expect(approvals.decide(JOB, { ...YES, approval: "x" }, ANN)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    const ended = parseJobId("job-2");
    await endedJob(local.kv, ended);
    await expect(approvals.decide(ended, YES, ANN)).rejects.toMatchObject({ code: "E_CONFLICT" });
  });

  test("is one, whatever another approver does at any moment", async () => {
    let n = 0;
    const moments = await atEveryCall(async (before) => {
      const job = parseJobId(`every-${++n}`);
      await askingJob(job, requested(CALL));
      const [first, second] = [openApprovals(), openApprovals()];
      const kv = interleavedKv(local.kv, before, async () => void await Promise.allSettled([
        second.decide(job, NO, BOB),
      ]));
      const ends = await Promise.allSettled([openApprovals(kv.kv).decide(job, YES, ANN), first.decide(job, NO, BOB)]);
      const entries = await inboxOf(local.kv, job);
      expect(entries).toHaveLength(1);
      const [entry] = entries;
      const isAnns = entry?.kind === "decision" && entry.principal === "ann";
      // Who was told that it counts is who is in the inbox.
      expect(ends[0].status).toBe(isAnns ? "fulfilled" : "rejected");
      if (ends[0].status === "rejected") {
        expect(ends[0].reason).toMatchObject({ code: "E_CONFLICT", details: { by: "bob", how: "rejected" } });
      }
      return { calls: kv.calls() };
    });
    expect(moments).toBeGreaterThan(4);
  });

  test("of one key is told as taken, at whatever moment it is sent a second time", async () => {
    let n = 0;
    const moments = await atEveryCall(async (before) => {
      const job = parseJobId(`again-${++n}`);
      await askingJob(job, requested(CALL));
      const [first, second] = [openApprovals(), openApprovals()];
      const keyed = { ...YES, idempotencyKey: "k" };
      const kv = interleavedKv(local.kv, before, async () => void await second.decide(job, keyed, ANN));
      const taken = { job, call: CALL, approved: true };
      expect(await openApprovals(kv.kv).decide(job, keyed, ANN)).toEqual(taken);
      expect(await first.decide(job, keyed, ANN)).toEqual(taken);
      expect(await inboxOf(local.kv, job)).toHaveLength(1);
      return { calls: kv.calls() };
    });
    expect(moments).toBeGreaterThan(4);
  });
});

const NO_NAMED: DecideApproval = { approval: "manager", approved: false, data: null };

describe("the time of an approval", () => {
  function openTimers(kv: Kv = local.kv): void {
    const driver = new TimerDriver({ clock, telemetry: createTestTelemetry([]) }, {
      kv,
      leadership: { fence: () => unchanged(LEADER_KEY, 0), onChange: () => undefined },
      onFatal: (error) => expect.unreachable(String(error)),
    });
    opened.push(driver);
    driver.start();
  }

  test("is over for people at the moment at which its job hears of it, whoever is first", async () => {
    let n = 0;
    const moments = await atEveryCall(async (before) => {
      const job = parseJobId(`every-${++n}`);
      await askingJob(job, requested(CALL, { untilMs: 5 }), { type: "timer.set", call: CALL, dueMs: 5 });
      const approvals = openApprovals();
      let decided: string | undefined;
      const kv = interleavedKv(local.kv, before, async () => {
        decided = await approvals.decide(job, YES, ANN).then(() => "decided", ({ code }: { code: string }) => code);
      });
      openTimers(kv.kv);
      await expect.poll(async () => (await local.kv.list({ prefix: prefixOf({ kind: "job-timers" }) })).entries)
        .toEqual([]);
      const kinds = (await inboxOf(local.kv, job)).map(({ kind }) => kind);
      // A decision that was taken comes before the time that is over, which nobody wants then.
      if (decided === "decided") expect(kinds[0]).toBe("decision");
      else expect(kinds).toEqual(["timer"]);
      await expect(approvals.decide(job, NO, BOB)).rejects.toMatchObject({
        code: "E_CONFLICT", details: { how: decided === "decided" ? "approved" : "expired" },
      });
      expect((await approvals.approvals({ job })).approvals).toEqual([]);
      for (const part of opened.splice(0)) await part.close();
      return { calls: kv.calls() };
    });
    expect(moments).toBeGreaterThan(3);
  });
});

describe("rows of approvals", () => {
  const place = { ref: refOf(JOB), agent: "claims", atMs: 1 };

  test("go with what decides them, with a cancel and with the end of the job, and so do their timers", () => {
    const asked = requested(CALL, { untilMs: 5 });
    const other = requested("b#1" as CallName);
    const decided: JobEvent = { type: "approval.decided", call: CALL, approved: true, principal: "p", data: null };
    const open = new OpenApprovals([asked, other]);
    expect(open.changes([decided], place, false).map(({ kind, key }) => `${kind} ${key}`)).toEqual([
      `delete job-approvals/000/${JOB}/manager%231`, `delete job-timers/000/000000000000005/${JOB}/manager%231`,
    ]);
    const cancelled: JobEvent = { type: "job.cancel-requested", principal: "p" };
    expect(open.changes([cancelled], place, false)).toHaveLength(3);
    expect(open.changes([], place, true)).toHaveLength(3);
    expect(open.changes([], place, false)).toEqual([]);
    open.note([decided]);
    expect(open.changes([], place, true)).toHaveLength(1);
    expect([open.has(CALL), open.room]).toEqual([true, 15]);
  });
});
