// Jobs that are done again: what the new job has of the old one is whole, and nothing that may have happened is made
// twice without a word.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { parseJobId, type JobId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { refOf, type CallName } from "../../src/jobs/core/ids.ts";
import { rowKey } from "../../src/jobs/core/life/job-keys.ts";
import { planFork, planRetry, type OldEvent } from "../../src/jobs/core/life/repeat.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { parseJobRow } from "../../src/jobs/core/rows.ts";
import { parseToolRow } from "../../src/jobs/core/tools/tool-row.ts";
import type { RepeatJob, StartedJob } from "../../src/jobs/ports.ts";
import { RepeatJobs } from "../../src/jobs/doors/repeat-jobs.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { atEveryCall, interleavedKv } from "../support/interleaved-kv.ts";
import { endedJob, EXPORTED, verify } from "../support/exported-job.ts";
import { jobStore, PIN, startJob } from "../support/job-log.ts";
import { payloadsIn } from "../support/kept-payloads.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";

const ANN = { principal: "ann", tenant: "default" };
const clock = createRealClock();

let local: LocalKv;

beforeEach(async () => {
  local = await createLocalKv();
  await endedJob(local.kv);
});

afterEach(() => local.close());

function repeat(what: RepeatJob, kv: Kv = local.kv, seed = 3, job: JobId = EXPORTED): Promise<StartedJob> {
  const repeats = new RepeatJobs({ clock, random: new SeededRandom(seed) }, {
    kv, payloads: payloadsIn(kv), log: jobStore(clock, kv), checkRoom: () => undefined,
    pins: { resolve: () => Promise.resolve(PIN), renew: () => Promise.resolve(), definitionOf: async () => undefined },
  });
  return repeats.repeat(job, what, ANN);
}

function fork(at: string, again: readonly string[] = [], id?: string): RepeatJob {
  return { what: { kind: "fork", at }, again, ...(id === undefined ? {} : { id: parseJobId(id) }) };
}

async function statesOf(job: JobId): Promise<Readonly<Record<string, string>>> {
  const { entries } = await local.kv.list({ prefix: prefixOf({ kind: "job-tools", ...refOf(job), run: 1 }) });
  return Object.fromEntries(entries.map(({ value }) => {
    const { call, state } = parseToolRow(value);
    return [call, state];
  }));
}

describe("a fork", () => {
  test.each<readonly [string, readonly string[], Readonly<Record<string, string>>]>([
    ["main/a#1", ["/pay#1", "/ship#1"], {}],
    ["/pay#1", ["/pay#1", "/ship#1"], {}],
    // What was under way has its outcome from the old job.
    ["/ship#1", ["/ship#1"], { "/pay#1": "succeeded" }],
    ["/note#1", [], { "/pay#1": "succeeded", "/ship#1": "succeeded" }],
    ["main/c#1", [], { "/pay#1": "succeeded", "/ship#1": "succeeded", "/note#1": "succeeded" }],
  ])("at %s is a whole job that makes again only what it is told to", async (at, again, states) => {
    if (again.length > 0) {
      await expect(repeat(fork(at, again.slice(1)))).rejects.toMatchObject({
        code: "E_CONFLICT", details: { calls: again.slice(0, 1) },
      });
    }
    const { job } = await repeat(fork(at, again));
    expect(await statesOf(job)).toEqual(states);
    expect((await verify(local.kv, job)).problems).toEqual([]);
    const { view, tools } = await jobStore(clock, local.kv).load(refOf(job));
    const old = (await jobStore(clock, local.kv).load(refOf(EXPORTED))).view;
    expect(view.row).toMatchObject({ status: "pending", epoch: old.row.epoch, pin: PIN });
    expect([view.spec.effectUid, view.spec.uid === old.spec.uid]).toEqual([old.spec.effectUid, false]);
    expect(view.head.openEffects).toBe(0);
    expect(tools.every(({ seq }) => seq <= view.head.seq)).toBe(true);
  });

  test("takes another input, and is refused for a call that there is not", async () => {
    const { job } = await repeat({ what: { kind: "fork", at: "main/c#1", input: { order: 8 } } });
    expect((await jobStore(clock, local.kv).load(refOf(job))).view.spec.input).toEqual({ order: 8 });
    await expect(repeat(fork("main/z#1"), local.kv, 4, job)).rejects.toMatchObject({ code: "E_CONFLICT" });
    await expect(repeat(fork("main/z#1"))).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("happens once, whoever asks at the same time and whenever the answer is lost", async () => {
    const first = await repeat(fork("main/c#1", [], "fork-1"));
    expect(first).toEqual({ job: "fork-1", status: "pending", isNew: true });
    expect(await repeat(fork("main/c#1", [], "fork-1"), local.kv, 5)).toMatchObject({ job: "fork-1", isNew: false });
    await expect(repeat(fork("main/c#1", [], "fork-2"), local.kv, 6)).rejects.toMatchObject({
      code: "E_CONFLICT", details: { job: "fork-1" },
    });
  });

  test("at the same time as another one, at every point of it, is one of the two", async () => {
    const calls = await atEveryCall(async (n) => {
      const world = await createLocalKv();
      try {
        await endedJob(world.kv);
        const seen = interleavedKv(world.kv, n, () => repeat(fork("main/c#1", [], "other-1"), world.kv, 8));
        const own = await repeat(fork("main/c#1", [], "own-1"), seen.kv, 9).catch((error: unknown) => error);
        const isOwn = (await world.kv.list({ prefix: "jobs/" })).entries.some(({ key }) => key.endsWith("/own-1"));
        if (isOwn) expect(own).toMatchObject({ job: "own-1" });
        else expect(own).toMatchObject({ code: "E_CONFLICT", details: { job: "other-1" } });
        return { calls: seen.calls() };
      } finally {
        await world.close();
      }
    });
    expect(calls).toBeGreaterThan(2);
  });
});

test("a job that has not ended, or did not fail, is not retried", async () => {
  await expect(repeat({ what: { kind: "retry" } })).rejects.toMatchObject({ code: "E_CONFLICT" });
  const live = await startJob(local.kv, { job: parseJobId("live-1") });
  await expect(repeat({ what: { kind: "retry" } }, local.kv, 4, live.ref.job)).rejects.toMatchObject({
    code: "E_CONFLICT", details: { status: "pending" },
  });
});

describe("a retry", () => {
  const ERROR = { name: "Error", message: "no paper" };
  const EFFECT = "e".repeat(64);

  function logOf(...events: readonly JobEvent[]): readonly OldEvent[] {
    return events.map((event) => ({ event, atMs: 1, epoch: 1, version: 1, bytes: new Uint8Array(1) }));
  }

  function call(type: string, name: string, more: object = {}): JobEvent {
    return { type, call: name, effectId: `${EFFECT}${name}`, ...more } as unknown as JobEvent;
  }

  const created = { type: "job.created" } as unknown as JobEvent;
  const failed: JobEvent = { type: "job.failed", error: ERROR };
  const once = { effect: "once" };

  function plan(...events: readonly JobEvent[]): readonly [readonly string[], readonly string[]] {
    const verdict = planRetry(logOf(created, ...events));
    const found = present(verdict.kind === "plan" ? verdict.plan : undefined, "it can be retried");
    const named = (events: readonly OldEvent[]): readonly string[] =>
      events.map(({ event }) => `${event.type} ${"call" in event ? event.call : ""}`);
    return [[...named(found.kept), "then", ...named(found.ends)], found.again];
  }

  test("does the step again that failed, and keeps what was done beside it", () => {
    const steps = [
      { type: "step.completed", call: "a" as CallName, value: 1 },
      { type: "step.failed", call: "b" as CallName, error: { name: "Error", message: "got over it" } },
      call("tool.granted", "pay", once), { type: "step.failed", call: "c" as CallName, error: ERROR },
      call("tool.succeeded", "pay"), { type: "step.completed", call: "tidy" as CallName, value: 1 }, failed,
    ] as const;
    expect(plan(...steps)).toEqual([
      ["step.completed a", "step.failed b", "tool.granted pay", "then", "tool.succeeded pay"], [],
    ]);
  });

  test("makes the call again that did not happen, and names what was made after it", () => {
    const tool = call("tool.failed", "pay", { error: ERROR });
    const before = [call("tool.granted", "pay", once), call("tool.granted", "ship", once)];
    expect(plan(...before, call("tool.succeeded", "ship"), tool, failed)).toEqual([
      ["tool.granted ship", "tool.succeeded ship", "then"], [],
    ]);
    const after = [call("tool.granted", "refund", once), call("tool.succeeded", "refund")];
    expect(plan(...before, tool, ...after, failed)[1]).toEqual(["refund"]);
    const harmless = [call("tool.granted", "look", { effect: "read" }), call("tool.granted", "note", once),
      call("tool.failed", "note", { error: { name: "Error", message: "not done" } })];
    expect(plan(...before, tool, ...harmless, failed)[1]).toEqual([]);
  });

  test("leaves a call in doubt that a person gave up", () => {
    const given = call("tool.resolved", "pay", { resolution: { kind: "given-up", reason: "closed" } });
    const before = [call("tool.granted", "pay", once), call("tool.unknown", "pay")];
    const end: JobEvent = { type: "job.failed", error: { name: "AetherError", message: "given up" } };
    expect(plan(...before, given, end)).toEqual([["tool.granted pay", "tool.unknown pay", "then"], []]);
  });

  test("goes on where the time of a job was over", () => {
    const step: JobEvent = { type: "step.completed", call: "a" as CallName, value: 1 };
    const tidy: JobEvent = { type: "step.completed", call: "tidy" as CallName, value: 1 };
    const late: JobEvent = { type: "job.cancel-requested", principal: "aether", reason: "deadline" };
    expect(plan(step, late, tidy, failed)).toEqual([["step.completed a", "then"], []]);
  });

  test("goes on where a job was cancelled, and hears of children whose end the old job has heard of", () => {
    const child = { type: "child.started", call: "kid", job: "k", isDetached: false } as unknown as JobEvent;
    const cancel: JobEvent = { type: "job.cancel-requested", principal: "ann" };
    const ended = { type: "child.failed", call: "kid" as CallName, error: ERROR } as const;
    const kept = ["child.started kid", "then", "child.failed kid"];
    expect(plan(child, cancel, ended, { type: "job.cancelled" })).toEqual([kept, []]);
    expect(planRetry(logOf(created, child, cancel, { type: "job.cancelled" }))).toMatchObject({ kind: "refused" });
    expect(planFork(logOf(created, cancel, child, ended, failed), "kid")).toMatchObject({ plan: { again: ["kid"] } });
  });
});

test("a job of which only the outcome is left cannot be done again", async () => {
  const key = rowKey(refOf(EXPORTED));
  const { entry } = await local.kv.get(key);
  const value = { ...parseJobRow(entry?.value), collectedMs: 5 };
  await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
  for (const what of [{ what: { kind: "retry" } }, fork("/note#1")] as const) {
    await expect(repeat(what)).rejects.toMatchObject({ code: "E_NOT_FOUND", details: { collectedMs: 5 } });
  }
});
