// One job that its owner runs, over the real store: what becomes of calls and steps when its node, its worker or the
// fence stands in their way.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { createDeferred, type Deferred } from "../../src/base/deferred.ts";
import type { CallName, EffectId } from "../../src/jobs/core/ids.ts";
import { headKey } from "../../src/jobs/core/life/job-keys.ts";
import { LOG_BYTES_MAX } from "../../src/jobs/core/log/page.ts";
import { headValue } from "../../src/jobs/core/rows.ts";
import { readEvent } from "../../src/jobs/core/log/upcast.ts";
import type { ToolEffect } from "../../src/jobs/core/log/event.ts";
import type { AgentOp } from "../../src/jobs/core/worker/messages.ts";
import type { InboxEntry } from "../../src/jobs/core/flow/inbox-entry.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { PayloadRoom } from "../../src/jobs/payloads/payload-room.ts";
import type { InboxArrival } from "../../src/jobs/running/job-run.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { JOB, jobStore, putPin, REF, runningJob } from "../support/job-log.ts";
import { rowOf } from "../support/job-rows.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { RUN, ScriptedRun } from "../support/scripted-run.ts";

const TIMEOUT_MS = 1_000;
/** After these the node gives the call up as lost. */
const LOST_MS = 6_000;

let clock: ManualClock;
let local: LocalKv;
let run: ScriptedRun;
/** Writes wait for it. */
let gate: Deferred<void> | undefined;

beforeEach(async () => {
  gate = undefined;
  clock = new ManualClock();
  local = await createLocalKv({ clock });
  await whenDone(putPin(local.kv));
  await whenDone(runningJob(clock, local.kv));
});

afterEach(async () => {
  run.close();
  await whenDone(local.close());
});

async function whenDone<T>(work: Promise<T>): Promise<T> {
  return await clock.settled(work, 10_000);
}

/** The store, whose writes wait while the gate is closed. */
function gated(kv: Kv): Kv {
  return Object.assign(Object.create(kv) as Kv, {
    transact: async (...args: Parameters<Kv["transact"]>) => {
      await gate?.promise;
      return await kv.transact(...args);
    },
  });
}

async function begin(ports: Parameters<typeof ScriptedRun.begin>[0]["ports"] = {}): Promise<void> {
  run = await whenDone(ScriptedRun.begin({ clock, local, kv: gated(local.kv), ports }));
  await clock.settle();
}

function closeGate(): () => Promise<void> {
  const closed = createDeferred<void>();
  gate = closed;
  return async () => {
    gate = undefined;
    closed.resolve();
    await clock.settle();
  };
}

interface WantOptions {
  readonly canReconcile?: boolean;
  readonly timeoutMs?: number;
}

function wants(
  call: string, effect: ToolEffect, { canReconcile = false, timeoutMs = TIMEOUT_MS }: WantOptions = {},
): AgentOp {
  return {
    kind: "want-tool", call: call as CallName, tool: "pay", effect, canReconcile, input: null,
    inputDigest: sha256("nothing"), timeoutMs,
  };
}

async function granted(effect: ToolEffect, options?: WantOptions): Promise<EffectId> {
  run.op(wants("/pay#1", effect, options));
  await clock.settle();
  expect(run.heardOf("granted")).toHaveLength(1);
  return run.heardOf("granted")[0]?.effectId as EffectId;
}

async function eventTypes(): Promise<readonly string[]> {
  const { log } = await whenDone(jobStore(clock, local.kv).load(REF));
  return log.map((bytes) => readEvent(bytes).event.type).slice(2);
}

const succeeded = (effectId: EffectId): AgentOp =>
  ({ kind: "outcome", call: "/pay#1" as CallName, effectId, outcome: { kind: "succeeded", result: 5 } });

describe("a call whose worker found the fence down", () => {
  let valid: Deferred<void>;

  beforeEach(async () => {
    valid = createDeferred<void>();
    await begin({ ownership: { fence: { number: 1 }, whenValid: () => valid.promise } });
  });

  async function notDispatched(effectId: EffectId): Promise<void> {
    run.say({ kind: "not-dispatched", run: RUN, call: "/pay#1" as CallName, effectId });
    await clock.settle();
  }

  test("is handed out once the node may act again, and has its whole time from then on (JOB3)", async () => {
    const effectId = await granted("once");
    await notDispatched(effectId);
    await clock.advance(LOST_MS - 500);
    valid.resolve();
    await clock.settle();
    expect(run.heardOf("granted")).toHaveLength(2);
    await clock.advance(1_000);
    expect(await eventTypes()).toEqual(["tool.granted"]);
    await clock.advance(LOST_MS);
    expect(await eventTypes()).toEqual(["tool.granted", "tool.unknown"]);
  });

  test("is not handed out any more when it is being given up as lost (JOB3)", async () => {
    const effectId = await granted("once", { canReconcile: true });
    await notDispatched(effectId);
    const open = closeGate();
    await clock.advance(LOST_MS);
    valid.resolve();
    await clock.settle();
    await open();
    expect(run.heardOf("granted")).toHaveLength(1);
    expect(await eventTypes()).toEqual(["tool.granted", "tool.unknown"]);
  });

  test("is handed out once where it was granted again meanwhile (JOB3)", async () => {
    const effectId = await granted("idempotent");
    await notDispatched(effectId);
    await clock.advance(LOST_MS);
    expect(run.heardOf("granted").map(({ attempt }) => attempt)).toEqual([1, 2]);
    valid.resolve();
    await clock.settle();
    expect(run.heardOf("granted")).toHaveLength(2);
  });
});

describe("what the worker has told before it ended", () => {
  beforeEach(() => begin());

  test("is in the log: an outcome that is known is never in doubt", async () => {
    const effectId = await granted("once");
    run.op(succeeded(effectId));
    run.lose("it used too much heap");
    await clock.settle();
    expect(await run.ended.promise).toBe("lost");
    expect(await eventTypes()).toEqual(["tool.granted", "tool.succeeded"]);
  });

  test("is in the log also where the store is slow, and nothing new is granted", async () => {
    const effectId = await granted("once");
    const open = closeGate();
    run.op({ kind: "step-completed", call: "/a#1" as CallName, value: 1 });
    await clock.settle();
    run.op(succeeded(effectId));
    run.op(wants("/pay#2", "once"));
    run.lose("it used too much heap");
    await clock.settle();
    await open();
    expect(await run.ended.promise).toBe("lost");
    expect(await eventTypes()).toEqual(["tool.granted", "step.completed", "tool.succeeded"]);
  });

  test("ends its job, if it says so", async () => {
    run.op({ kind: "completed", output: 1 });
    run.lose("it ended by itself");
    await clock.settle();
    expect(await run.ended.promise).toBe("ended");
    expect((await whenDone(rowOf(local.kv, JOB))).status).toBe("completed");
  });
});

test("a worker hears what of its results is stored, also behind a call that the store has no room for", async () => {
  const payloads = {
    store: { put: () => Promise.resolve(), part: () => Promise.reject(new RangeError("there is none")) },
    room: new PayloadRoom(),
    usage: () => ({ liveBytes: 2, quotaBytes: 1 }),
  };
  await begin({ payloads });
  run.op(wants("/pay#1", "once"));
  run.op({ kind: "step-completed", call: "/a#1" as CallName, value: 1 });
  await clock.settle();
  expect(run.heardOf("committed")[0]).toMatchObject({ upTo: 0, ahead: [2] });
});

describe("a job whose log is full", () => {
  /** As it is after a hundred thousand events. */
  beforeEach(async () => {
    await whenDone((async () => {
      const { view } = await jobStore(clock, local.kv).load(REF);
      const head = { ...view.head, bytes: LOG_BYTES_MAX - 1 };
      const put = { kind: "put", key: headKey(REF), value: headValue(head) } as const;
      await local.kv.transact({ compare: [], then: [put], else: [] });
    })());
    await begin();
  });

  const stepDone = (name: string): AgentOp =>
    ({ kind: "step-completed", call: `/${name}#1` as CallName, value: "x".repeat(100) });

  test("fails, however much its code goes on to say", async () => {
    run.op(stepDone("fills"));
    await clock.settle();
    for (const name of ["a", "b", "c"]) run.op(stepDone(name));
    expect(await whenDone(run.ended.promise)).toBe("ended");
    expect(await whenDone(rowOf(local.kv, JOB))).toMatchObject({ status: "failed" });
    expect(await eventTypes()).toEqual(["step.completed", "job.failed"]);
  });

  test("fails once it is noted what became of its calls, each as it comes", async () => {
    for (const call of ["/pay#1", "/pay#2"]) run.op(wants(call, "once"));
    await clock.settle();
    run.op(stepDone("more"));
    await clock.settle();
    const [first, second] = run.heardOf("granted").map(({ effectId }) => effectId) as [EffectId, EffectId];
    run.op(succeeded(first));
    run.op(stepDone("and-more"));
    await clock.settle();
    run.op({ ...succeeded(second), call: "/pay#2" } as AgentOp);
    expect(await whenDone(run.ended.promise)).toBe("ended");
    const outcomes = ["tool.succeeded", "tool.succeeded"];
    expect(await eventTypes()).toEqual(["tool.granted", "tool.granted", ...outcomes, "job.failed"]);
  });

  test("is not run here any more where nobody knows what became of a call", async () => {
    const effectId = await granted("once");
    const outcome = { kind: "unknown", reason: "who knows" } as const;
    run.op({ kind: "outcome", call: "/pay#1" as CallName, effectId, outcome });
    run.idle();
    expect(await whenDone(run.ended.promise)).toBe("lost");
    expect(await eventTypes()).toEqual(["tool.granted", "tool.unknown"]);
  });
});

describe("a node that is being stopped", () => {
  beforeEach(() => begin());

  test("notes what was done before it leaves the job", async () => {
    const open = closeGate();
    run.op({ kind: "step-completed", call: "/a#1" as CallName, value: 1 });
    await clock.settle();
    run.op({ kind: "step-completed", call: "/b#1" as CallName, value: 1 });
    run.op(wants("/pay#1", "once"));
    const drained = run.drain();
    await open();
    await whenDone(drained);
    expect(await run.ended.promise).toBe("released");
    expect(await eventTypes()).toEqual(["step.completed", "step.completed", "job.released"]);
  });

  test("begins nothing that its code would do next", async () => {
    const open = closeGate();
    run.op({ kind: "step-completed", call: "/a#1" as CallName, value: 1 });
    await clock.settle();
    const drained = run.drain();
    await open();
    await whenDone(drained);
    expect(run.heardOf("committed")).toEqual([]);
  });

  test("leaves the job after its time, also when a write is under way just then", async () => {
    await granted("once", { timeoutMs: 60_000 });
    const drained = run.drain();
    await clock.advance(29_000);
    const open = closeGate();
    run.op({ kind: "value", call: "/now#1" as CallName, value: 1 });
    await clock.advance(2_000);
    await open();
    await whenDone(drained);
    expect(await run.ended.promise).toBe("released");
  });
});

describe("a node that is drained", () => {
  beforeEach(() => begin());

  test("waits for steps under way, and notes what they came to", async () => {
    const drained = run.drain("node-drained");
    await clock.advance(60_000);
    expect(run.heardOf("leave")).toHaveLength(1);
    run.op({ kind: "step-completed", call: "/a#1" as CallName, value: 1 });
    run.say({ kind: "left", run: 1 });
    await whenDone(drained);
    expect(await run.ended.promise).toBe("released");
    expect(await eventTypes()).toEqual(["step.completed", "job.released"]);
  });

  test("does not wait for a step for longer than ten minutes", async () => {
    const drained = run.drain("node-drained");
    await clock.advance(10 * 60_000);
    await whenDone(drained);
    expect(await run.ended.promise).toBe("released");
  });

  test("leaves a job at once when it is stopped", async () => {
    const drained = run.drain("node-drained");
    await clock.advance(1_000);
    const stopped = run.drain("node-stops");
    await whenDone(Promise.all([drained, stopped]));
    expect(await run.ended.promise).toBe("released");
  });
});

test("a job that is to hold still notes what was done before", async () => {
  let arrive: (arrival: InboxArrival) => void = () => undefined;
  await begin({
    followInbox: (_ref, onArrival) => {
      arrive = onArrival;
      return () => undefined;
    },
  });
  const writer = new InboxWriter({ clock }, { kv: local.kv, onFatal: (error) => expect.unreachable(String(error)) });
  const { epoch } = await whenDone(rowOf(local.kv, JOB));
  const entry: InboxEntry = { kind: "hold", epoch, to: "g:n:1.0.0", principal: "ann" };
  await whenDone(writer.put(REF, { entry }));
  const { revision } = local.kv;
  const open = closeGate();
  run.op({ kind: "step-completed", call: "/a#1" as CallName, value: 1 });
  await clock.settle();
  run.op({ kind: "step-completed", call: "/b#1" as CallName, value: 1 });
  arrive({ n: 1, entry, revision });
  await open();
  expect(await run.ended.promise).toBe("waiting");
  expect(await eventTypes()).toEqual(["step.completed", "step.completed", "job.waiting"]);
  await whenDone(writer.close());
});

describe("a call of which only so many may be under way", () => {
  const seen: string[] = [];

  beforeEach(async () => {
    seen.length = 0;
    await begin({
      places: {
        take: async ({ name, max }) => {
          seen.push(`place ${name} of ${max}`);
          return { free: () => void seen.push("given back") };
        },
      },
      rates: { take: async ({ name }) => void seen.push(`turn ${name}`), giveBack: () => undefined },
    });
  });

  function wantsPlace(effect: ToolEffect): AgentOp {
    const rate = { name: "pay", perSecond: 1, burst: 1 };
    return { ...wants("/pay#1", effect), maxConcurrent: 3, rate } as AgentOp;
  }

  async function grantedWithPlace(effect: ToolEffect): Promise<EffectId> {
    run.op(wantsPlace(effect));
    await clock.settle();
    // A turn that is taken before there is a place would be used at any time.
    expect(seen).toEqual(["place scripted/pay of 3", "turn scripted/pay"]);
    return run.heardOf("granted")[0]?.effectId as EffectId;
  }

  test("has its place from before its grant until its result is recorded", async () => {
    const effectId = await grantedWithPlace("once");
    const open = closeGate();
    run.op(succeeded(effectId));
    await clock.settle();
    expect(seen).not.toContain("given back");
    await open();
    expect(seen.slice(2)).toEqual(["given back"]);
  });

  test("that nobody knows of gives it back, and takes another one to be made again", async () => {
    await grantedWithPlace("idempotent");
    await clock.advance(LOST_MS);
    expect(seen.slice(2)).toEqual(["given back", "place scripted/pay of 3", "turn scripted/pay"]);
    expect(run.heardOf("granted").map(({ attempt }) => attempt)).toEqual([1, 2]);
  });

  test("of a job that is not run here any more has none", async () => {
    await grantedWithPlace("once");
    run.lose("it has ended");
    await whenDone(run.ended.promise);
    expect(seen.slice(2)).toEqual(["given back"]);
  });
});
