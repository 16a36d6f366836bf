import { describe, expect, test } from "vitest";
import { present } from "../../../../../src/base/assert.ts";
import { sha256 } from "../../../../../src/base/digest.ts";
import { parseJobId, type JobId } from "../../../../../src/base/ids.ts";
import type { CallName, EffectId } from "../../../../../src/jobs/core/ids.ts";
import { OpenApprovals } from "../../../../../src/jobs/core/run/open-approvals.ts";
import { ratesOf } from "../../../../../src/jobs/core/flow/call-rates.ts";
import { PLAN_EVENTS_MAX } from "../../../../../src/jobs/core/run/plan-maker.ts";
import type { Plan, RunFacts } from "../../../../../src/jobs/core/run/plan.ts";
import { RunBatch } from "../../../../../src/jobs/core/run/run-batch.ts";
import { logFactsOf } from "../../../../../src/jobs/core/run/log-facts.ts";
import { encodeEvent, type JobEvent, type ToolEffect } from "../../../../../src/jobs/core/log/event.ts";
import type { ToolRow } from "../../../../../src/jobs/core/tools/tool-row.ts";
import type { AgentOp } from "../../../../../src/jobs/core/worker/messages.ts";

function nameOf(text: string): CallName {
  return text as CallName;
}

function effectIdOf(call: CallName): EffectId {
  return sha256(`effect of ${call}`);
}

function childIdOf(call: CallName): JobId {
  return parseJobId(`child-of-${call.replace("#", ".")}`);
}

function openBatch(
  tools: readonly ToolRow[] = [], epoch = 1, facts: Pick<RunFacts, "missingSecrets" | "isStored"> = {},
): RunBatch {
  return new RunBatch({
    epoch, tools, timers: new Map(), approvals: new OpenApprovals(), children: new Map(), isCancelled: false,
    effectIdOf, childIdOf, ratesOf: (want) => ratesOf(want, { slice: "shop", models: {} }), ...facts,
  });
}

function step(call: string): AgentOp {
  return { kind: "step-completed", call: nameOf(call), value: call };
}

function wantTool(call: string, effect: ToolEffect, canReconcile = false): Extract<AgentOp, { kind: "want-tool" }> {
  return {
    kind: "want-tool", call: nameOf(call), tool: "pay", effect, canReconcile, input: { cents: 5 },
    inputDigest: sha256("5 cents"), timeoutMs: 1_000,
  };
}

function outcome(call: string, result: Extract<AgentOp, { kind: "outcome" }>["outcome"]): AgentOp {
  return { kind: "outcome", call: nameOf(call), effectId: effectIdOf(nameOf(call)), outcome: result };
}

/** All operations, from the first one on. */
function takeAll(batch: RunBatch, ...ops: readonly AgentOp[]): void {
  for (const op of ops) expect(batch.take(batch.last + 1, op)).toBe(true);
}

function planOf(batch: RunBatch, seq = 0): Plan {
  return present(batch.plan(seq), "there is something to append");
}

function settled(batch: RunBatch, seq = 0): Plan {
  const plan = planOf(batch, seq);
  batch.settle(plan);
  return plan;
}

function typesOf({ events }: Plan): readonly string[] {
  return events.map(({ type }) => type);
}

describe("what the code says", () => {
  test("is appended in its order, all that came in one go, and the end with it", () => {
    const batch = openBatch();
    takeAll(batch, step("a"), step("b"), { kind: "completed", output: 3 });
    const plan = settled(batch);
    expect(plan.events).toEqual([
      { type: "step.completed", call: "a", value: "a" }, { type: "step.completed", call: "b", value: "b" },
    ]);
    expect(plan).toMatchObject({ upTo: 3, end: { kind: "completed", output: 3 } });
    expect(batch.isSettled).toBe(true);
    expect(batch.plan(2)).toBeUndefined();
  });

  test("is refused out of its order", () => {
    const batch = openBatch();
    expect(batch.take(2, step("b"))).toBe(false);
    expect(batch.take(1, step("a"))).toBe(true);
    expect(batch.take(1, step("a"))).toBe(false);
  });

  test("is cut where an append is full, and nothing is left out", () => {
    const batch = openBatch();
    const all = Array.from({ length: 150 }, (_, at) => step(`s${at}`));
    takeAll(batch, ...all);
    const seen: unknown[] = [];
    while (batch.plan(seen.length) !== undefined) {
      const { events } = settled(batch, seen.length);
      expect(events.length).toBeLessThanOrEqual(PLAN_EVENTS_MAX);
      seen.push(...events);
    }
    expect(seen).toHaveLength(150);
  });

  test("stays as it is when a plan is not settled", () => {
    const batch = openBatch();
    takeAll(batch, step("a"), wantTool("t", "once"));
    expect(planOf(batch)).toEqual(planOf(batch));
    expect(batch.isSettled).toBe(false);
  });
});

describe("a call of a tool", () => {
  const call = nameOf("t");
  const effectId = effectIdOf(call);

  test("is granted with what came before it, and its outcome joins the next grant", () => {
    const batch = openBatch();
    takeAll(batch, step("a"), wantTool("t", "once"));
    const first = settled(batch);
    expect(typesOf(first)).toEqual(["step.completed", "tool.granted"]);
    expect(first.granted).toMatchObject([{ n: 2, row: { effectId, attempt: 1, state: "granted", seq: 2 } }]);
    takeAll(batch, outcome("t", { kind: "succeeded", result: 1 }), wantTool("u", "read"));
    const second = settled(batch, 2);
    expect(typesOf(second)).toEqual(["tool.succeeded", "tool.granted"]);
    expect(second.tools.map(({ row, before }) => `${before}>${row.state}`))
      .toEqual(["granted>succeeded", "none>granted"]);
  });

  test("keeps the job from ending before it has an outcome", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "once"));
    settled(batch);
    takeAll(batch, { kind: "completed", output: null });
    expect(settled(batch, 1)).not.toHaveProperty("end");
    expect(batch.plan(1)).toBeUndefined();
    takeAll(batch, outcome("t", { kind: "succeeded", result: 1 }));
    expect(settled(batch, 1)).toMatchObject({ events: [{ type: "tool.succeeded" }], end: { kind: "completed" } });
  });

  test("that an earlier owner was granted is lost, and granted again only if its effect allows it", () => {
    const earlier = (effect: ToolEffect, canReconcile: boolean): ToolRow => ({
      state: "granted", effectId, call, tool: "pay", effect, canReconcile, epoch: 1, attempt: 1,
      inputDigest: sha256("5 cents"), timeoutMs: 1_000, seq: 1,
    });
    const idempotent = openBatch([earlier("idempotent", false)], 2);
    takeAll(idempotent, wantTool("t", "idempotent"));
    const again = settled(idempotent, 1);
    expect(typesOf(again)).toEqual(["tool.unknown", "tool.granted"]);
    expect(again.granted).toMatchObject([{ n: 1, row: { effectId, attempt: 2, epoch: 2 } }]);
    expect(again.refused).toEqual([]);

    for (const canReconcile of [true, false]) {
      const once = openBatch([earlier("once", canReconcile)], 2);
      takeAll(once, wantTool("t", "once", canReconcile));
      const plan = settled(once, 1);
      expect(typesOf(plan)).toEqual(["tool.unknown"]);
      expect(plan).toMatchObject({ granted: [], doubts: [{ row: { effectId, state: "unknown" } }] });
      expect(once.inDoubt(effectId)).toBe(call);
    }
  });

  describe("of a job that comes from a backup", () => {
    const restored = { seq: 5, inbox: 3 };
    const before = (state: ToolRow["state"], seq: number): ToolRow => ({
      state, effectId, call, tool: "pay", effect: "once", canReconcile: false, epoch: 1, attempt: 1,
      inputDigest: sha256("5 cents"), timeoutMs: 1_000, seq,
    });
    const open = (tools: readonly ToolRow[]): RunBatch =>
      new RunBatch({
        epoch: 2, tools, timers: new Map(), approvals: new OpenApprovals(), children: new Map(), isCancelled: false,
        restored, effectIdOf, childIdOf,
      });
    const notDone = (batch: RunBatch, inbox: number): void => batch.offered(1, {
      inbox, what: {
        kind: "resolved", call, effectId, resolution: { kind: "not-done" }, by: { kind: "person", principal: "ann" },
      },
    });

    test("is not made before it is known what became of it, if it happens once", () => {
      for (const tools of [[], [before("failed", 5)]]) {
        const batch = open(tools);
        takeAll(batch, wantTool("t", "once"));
        const plan = settled(batch, 6);
        expect(plan).toMatchObject({
          events: [{ type: "tool.doubted", attempt: tools.length + 1 }], granted: [],
          tools: [{ row: { state: "unknown" }, before: tools[0]?.state ?? "none" }], doubts: [{ row: { effectId } }],
        });
        // Only once: what is said since the restore counts.
        notDone(batch, 4);
        takeAll(batch, { kind: "took", offer: 1 }, wantTool("t", "once"));
        expect(typesOf(settled(batch, 7))).toEqual(["tool.resolved", "tool.granted"]);
      }
    });

    test("is made where it may be made twice, or was found out about since", () => {
      const read = open([]);
      takeAll(read, wantTool("t", "read"), wantTool("u", "idempotent"));
      expect(typesOf(settled(read, 6))).toEqual(["tool.granted", "tool.granted"]);
      const known = open([before("failed", 6)]);
      takeAll(known, wantTool("t", "once"));
      expect(typesOf(settled(known, 6))).toEqual(["tool.granted"]);
    });

    test("is not made again because a person said so before the backup; the next answer is another one's", () => {
      const batch = open([before("unknown", 5)]);
      takeAll(batch, wantTool("t", "once"));
      settled(batch, 6);
      notDone(batch, 3);
      takeAll(batch, { kind: "took", offer: 1 }, wantTool("t", "once"));
      const plan = settled(batch, 6);
      expect(plan).toMatchObject({ events: [{ type: "tool.doubted", attempt: 2 }], folded: [3], granted: [] });
      expect(plan.doubts).toMatchObject([{ row: { state: "unknown", attempt: 2 } }]);
    });
  });

  test("whose outcome its worker does not know is granted again to the same owner, if its effect allows it", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "idempotent"));
    settled(batch);
    takeAll(batch, outcome("t", { kind: "unknown", reason: "stopped by the fence" }));
    const again = settled(batch, 1);
    expect(typesOf(again)).toEqual(["tool.unknown", "tool.granted"]);
    expect(again.granted).toMatchObject([{ n: 1, row: { effectId, attempt: 2, epoch: 1 } }]);
  });

  test("that throws is in doubt if it happens once, and may be wanted again otherwise", () => {
    const error = { name: "Error", message: "no answer" };
    const once = openBatch();
    takeAll(once, wantTool("t", "once", true));
    settled(once);
    takeAll(once, outcome("t", { kind: "failed", error, isNotDone: false }));
    expect(settled(once, 1)).toMatchObject({ events: [{ type: "tool.unknown" }], doubts: [{ row: { effectId } }] });

    const read = openBatch();
    takeAll(read, wantTool("t", "read"));
    settled(read);
    takeAll(read, outcome("t", { kind: "failed", error, isNotDone: false }), wantTool("t", "read"));
    const plan = settled(read, 1);
    expect(typesOf(plan)).toEqual(["tool.failed", "tool.granted"]);
    expect(plan.granted).toMatchObject([{ n: 3, row: { attempt: 2 } }]);
  });

  test("is refused with another input than before", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "read"));
    settled(batch);
    const other = { ...wantTool("t", "read"), inputDigest: sha256("other") };
    takeAll(batch, outcome("t", { kind: "failed", error: { name: "E", message: "" }, isNotDone: true }), other);
    expect(settled(batch, 1).refused).toMatchObject([{ n: 3, error: { code: "E_NONDETERMINISM" } }]);
  });

  test("is not granted by a node that lacks a secret of it; one that may have been made waits for a person", () => {
    const missingSecrets = (names: readonly string[]): readonly string[] => names.filter((name) => name !== "there");
    const open = (tools: readonly ToolRow[]): RunBatch => openBatch(tools, 2, { missingSecrets });
    const want = { ...wantTool("t", "read"), secrets: ["there", "key"] };
    const first = open([]);
    takeAll(first, want);
    expect(settled(first)).toMatchObject({
      events: [], granted: [],
      refused: [{ n: 1, error: { code: "E_CONFIG", message: expect.stringMatching(/no secret "key"/) as unknown } }],
    });
    const again = open([{
      state: "granted", effectId, call, tool: "pay", effect: "read", canReconcile: false, epoch: 1, attempt: 1,
      inputDigest: sha256("5 cents"), timeoutMs: 1_000, seq: 1,
    }]);
    takeAll(again, want);
    expect(settled(again, 1)).toMatchObject({ granted: [], refused: [], doubts: [{ row: { state: "unknown" } }] });
    const known = open([]);
    takeAll(known, { ...want, secrets: ["there"] });
    const plan = settled(known);
    expect(plan.granted).toMatchObject([{ n: 1, secrets: ["there"] }]);
    // Their names are in no row.
    expect(JSON.stringify([plan.events, plan.tools])).not.toContain("there");
  });

  test("is not granted by a node that is being stopped", () => {
    const batch = openBatch();
    takeAll(batch, step("a"), wantTool("t", "once"));
    const plan = present(batch.plan(0, { grants: "none" }), "the step goes in");
    expect(typesOf(plan)).toEqual(["step.completed"]);
    batch.settle(plan);
    expect(batch.plan(1, { grants: "none" })).toBeUndefined();
  });

  test("has its outcome recorded whatever has to wait before it", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "once"));
    settled(batch);
    takeAll(batch, step("before"), wantTool("later", "once"), outcome("t", { kind: "succeeded", result: 5 }));
    const plan = present(batch.plan(1, { grants: "none" }), "what is known goes in");
    expect([typesOf(plan), plan.upTo, plan.ahead]).toEqual([["step.completed", "tool.succeeded"], 2, [4]]);
    batch.settle(plan);
    expect([batch.underWay, batch.isSettled, batch.plan(3, { grants: "none" })]).toEqual([0, false, undefined]);
    // What waits has its place still, and so has what comes after.
    takeAll(batch, step("after"));
    const rest = settled(batch, 3);
    expect([typesOf(rest), rest.upTo, rest.granted.length]).toEqual([["tool.granted", "step.completed"], 5, 1]);
    expect(batch.isSettled).toBe(true);
  });

  test("has what people say of it recorded in as many appends as it takes", () => {
    const batch = openBatch();
    const calls = Array.from({ length: 8 }, (_, at) => `t${at}`);
    takeAll(batch, ...calls.map((call) => wantTool(call, "once")));
    settled(batch);
    batch.abandonCalls("its worker has ended");
    expect(present(batch.plan(8, { opsMax: 2 }), "two of them").changes).toBe(2);
  });

  test("has its outcome recorded however many have to wait before it", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "once"));
    settled(batch);
    const later = Array.from({ length: 2 * PLAN_EVENTS_MAX }, (_, at) => wantTool(`later${at}`, "once"));
    takeAll(batch, ...later, outcome("t", { kind: "succeeded", result: 5 }));
    const plan = present(batch.plan(1, { grants: "none" }), "what is known goes in");
    expect([typesOf(plan), plan.upTo]).toEqual([["tool.succeeded"], 1]);
  });

  test("has its outcome recorded also behind what the code took meanwhile, with the wait that it ended", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "once"));
    settled(batch);
    const call = "told#1" as CallName;
    batch.offered(1, { inbox: 1, what: { kind: "signal", call, signal: "told", payload: 1 } });
    takeAll(
      batch, wantTool("later", "once"),
      { kind: "want-wait", call, wait: { kind: "signal", signal: "told", untilMs: 9 } }, { kind: "took", offer: 1 },
      outcome("t", { kind: "succeeded", result: 5 }),
    );
    const plan = present(batch.plan(1, { grants: "none" }), "what is known goes in");
    expect([typesOf(plan), plan.folded]).toEqual([["timer.set", "signal.received", "tool.succeeded"], [1]]);
    batch.settle(plan);
    expect(batch.underWay).toBe(0);
    expect(typesOf(settled(batch, 4))).toEqual(["tool.granted"]);
  });

  test("has its outcome recorded behind all that the code was given before it", () => {
    let isStored = false;
    const batch = openBatch([], 1, { isStored: () => isStored });
    takeAll(batch, wantTool("t", "once"));
    settled(batch);
    const blob = { digest: sha256("large"), bytes: 100_000 };
    takeAll(
      batch, wantTool("later", "once"), step("before"), { ...step("large"), blob } as AgentOp,
      outcome("t", { kind: "succeeded", result: 5 }),
    );
    const plan = present(batch.plan(1, { grants: "none" }), "what is known goes in");
    expect([typesOf(plan), plan.upTo, plan.ahead]).toEqual([["step.completed"], 1, [3]]);
    batch.settle(plan);
    expect(batch.plan(2, { grants: "none" })).toBeUndefined();
    isStored = true;
    expect(typesOf(present(batch.plan(2, { grants: "none" }), "it is stored"))).toEqual([
      "step.completed", "tool.succeeded",
    ]);
  });

  test("in doubt puts off the end of a cancelled job until a person has answered", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "once"));
    settled(batch);
    takeAll(batch, outcome("t", { kind: "unknown", reason: "no answer" }));
    settled(batch, 1);
    batch.end({ kind: "cancelled" });
    expect(batch.plan(2)).toBeUndefined();
    const by = { kind: "person", principal: "ann" } as const;
    batch.offered(1, {
      inbox: 4, what: { kind: "resolved", call, effectId, resolution: { kind: "not-done" }, by },
    });
    takeAll(batch, { kind: "took", offer: 1 });
    expect(settled(batch, 2)).toMatchObject({
      events: [{ type: "tool.resolved", by }], folded: [4], taken: [1], end: { kind: "cancelled" },
    });
  });
});

describe("children", () => {
  const want = (call: string, isDetached = false): Extract<AgentOp, { kind: "want-child" }> => ({
    kind: "want-child", call: nameOf(call), agent: "audit", input: 1, inputDigest: sha256("1"), isDetached,
  });
  const started = (call: string): JobEvent => ({
    type: "child.started", call: nameOf(call), job: childIdOf(nameOf(call)), agent: "audit", inputDigest: sha256("1"),
    isDetached: false,
  });
  const ready = { kind: "ready", pin: sha256("pin") } as const;

  test("are started in their place, once it is known what they run", () => {
    const batch = openBatch();
    takeAll(batch, step("a"), want("c#1"), step("b"));
    expect(batch.childrenWanted.map(({ n }) => n)).toEqual([2]);
    expect(typesOf(settled(batch))).toEqual(["step.completed"]);
    expect(batch.plan(1)).toBeUndefined();
    batch.answerChild(2, ready);
    const plan = settled(batch, 1);
    expect(plan.events).toEqual([started("c#1"), { type: "step.completed", call: "b", value: "b" }]);
    expect(plan.childStarts).toMatchObject([{ job: childIdOf(nameOf("c#1")), pin: ready.pin }]);
    // The code runs again.
    takeAll(batch, want("c#1"));
    expect(settled(batch, 3)).toMatchObject({ events: [], childStarts: [] });
  });

  test("are four of one append at most, and none is left out", () => {
    const batch = openBatch();
    takeAll(batch, ...Array.from({ length: 9 }, (_, at) => want(`c${at}#1`)));
    for (const { n } of batch.childrenWanted) batch.answerChild(n, ready);
    expect([settled(batch), settled(batch, 4), settled(batch, 8)].map(({ childStarts }) => childStarts.length))
      .toEqual([4, 4, 1]);
  });

  test("that cannot be started are refused, and the log has nothing of them", () => {
    const batch = openBatch();
    takeAll(batch, want("c#1"));
    const error = { name: "AetherError", code: "E_NOT_FOUND", message: "no" };
    batch.answerChild(1, { kind: "refused", error });
    expect(settled(batch)).toMatchObject({ events: [], childStarts: [], refused: [{ n: 1, error }] });
  });

  test("that are not over are cancelled when their parent ends, and when it is cancelled", () => {
    const children = new Map([
      [nameOf("over#1"), { job: parseJobId("over"), isDetached: false, isOver: true }],
      [nameOf("open#1"), { job: parseJobId("open"), isDetached: false, isOver: false }],
      [nameOf("away#1"), { job: parseJobId("away"), isDetached: true, isOver: false }],
    ]);
    const timers = new Map<CallName, number>();
    const approvals = new OpenApprovals();
    const facts = { epoch: 1, tools: [], timers, approvals, isCancelled: false, effectIdOf, childIdOf };
    const ending = new RunBatch({ ...facts, children });
    takeAll(ending, { kind: "completed", output: 1 });
    expect(settled(ending).childCancels).toEqual(["open"]);
    const cancelled = new RunBatch({ ...facts, children });
    cancelled.offered(1, { inbox: 1, what: { kind: "cancel", principal: "p" } });
    takeAll(cancelled, { kind: "took", offer: 1 }, want("late#1"));
    expect(settled(cancelled)).toMatchObject({ childCancels: ["open"], childStarts: [], upTo: 2 });
  });

  test("are cancelled when the time for them is over", () => {
    const batch = openBatch();
    takeAll(batch, { ...want("c#1"), untilMs: 50 });
    batch.answerChild(1, ready);
    expect(typesOf(settled(batch))).toEqual(["child.started", "timer.set"]);
    batch.offered(1, { what: { kind: "timer", call: nameOf("c#1") } });
    takeAll(batch, { kind: "took", offer: 1 });
    expect(settled(batch, 2).childCancels).toEqual([childIdOf(nameOf("c#1"))]);
    takeAll(batch, { kind: "completed", output: 1 });
    expect(settled(batch, 3).childCancels).toEqual([]);
  });
});

describe("a job whose time is over", () => {
  const overdueEnd = { kind: "failed", error: { name: "AetherError", code: "E_TIMEOUT", message: "late" } } as const;
  const open = (facts: Partial<RunFacts> = {}): RunBatch => new RunBatch({
    epoch: 1, tools: [], timers: new Map(), approvals: new OpenApprovals(), children: new Map(), isCancelled: false,
    effectIdOf, childIdOf, overdueEnd, ...facts,
  });
  const deadline = { kind: "cancel", principal: "aether", reason: "deadline" } as const;
  const took: AgentOp = { kind: "took", offer: 1 };
  const cancelled: AgentOp = { kind: "cancelled" };

  test("has failed where its code ends with the cancel, in one append or in two", () => {
    const atOnce = open();
    atOnce.offered(1, { inbox: 1, what: deadline });
    takeAll(atOnce, took, cancelled);
    const plan = settled(atOnce);
    expect(plan.events).toEqual([{ type: "job.cancel-requested", principal: "aether", reason: "deadline" }]);
    expect(plan.end).toEqual(overdueEnd);
    const later = open();
    later.offered(1, { inbox: 1, what: deadline });
    takeAll(later, took);
    expect(settled(later).end).toBeUndefined();
    takeAll(later, cancelled);
    expect(settled(later, 1).end).toEqual(overdueEnd);
  });

  test("has failed also where another node has taken it since, by its log", () => {
    const log = (...events: readonly JobEvent[]): RunFacts["isOverdue"] =>
      logFactsOf(events.map((event) => encodeEvent(event, { atMs: 1, epoch: 1 }))).isOverdue;
    const byDeadline: JobEvent = { type: "job.cancel-requested", principal: "aether", reason: "deadline" };
    const byAnn: JobEvent = { type: "job.cancel-requested", principal: "ann" };
    expect([log(byDeadline), log(byDeadline, byAnn), log(byAnn, byDeadline)]).toEqual([true, true, false]);
    const taken = open({ isCancelled: true, isOverdue: true });
    takeAll(taken, cancelled);
    expect(settled(taken).end).toEqual(overdueEnd);
  });

  test("ends as its code does where that ends otherwise, and is cancelled where that came first", () => {
    const done = open({ isCancelled: true, isOverdue: true });
    takeAll(done, { kind: "completed", output: 1 });
    expect(settled(done).end).toEqual({ kind: "completed", output: 1 });
    const before = open({ isCancelled: true });
    before.offered(1, { inbox: 1, what: deadline });
    takeAll(before, took, cancelled);
    expect(settled(before).end).toEqual({ kind: "cancelled" });
  });
});

describe("approvals", () => {
  test("are asked for once, some in each append, and refused above what a job may wait for", () => {
    const approvals = new OpenApprovals();
    const facts = {
      epoch: 1, tools: [], timers: new Map<CallName, number>(), approvals, children: new Map(), isCancelled: false,
      effectIdOf, childIdOf,
    };
    const batch = new RunBatch(facts);
    const asks = Array.from({ length: 20 }, (_, at): AgentOp => ({
      kind: "want-wait", call: nameOf(`manager#${at}`),
      wait: { kind: "approval", name: "manager", summary: "?", data: null, shown: sha256("shown"), untilMs: 5 },
    }));
    takeAll(batch, ...asks);
    const plans: Plan[] = [];
    while (!batch.isSettled) {
      const plan = settled(batch, plans.length);
      approvals.note(plan.events);
      plans.push(plan);
    }
    expect(plans.map(({ events }) => events.length)).toEqual([16, 16, 0]);
    expect(typesOf(planAt(plans, 0)).slice(0, 2)).toEqual(["approval.requested", "timer.set"]);
    expect(plans.flatMap(({ refused }) => refused)).toMatchObject(
      [17, 18, 19, 20].map((n) => ({ n, error: { code: "E_TOO_LARGE" } })),
    );
    // Code that runs again asks for what the log has.
    const again = new RunBatch({ ...facts, timers: new Map([[nameOf("manager#0"), 5]]) });
    takeAll(again, ...asks.slice(0, 1));
    expect(settled(again)).toMatchObject({ events: [], refused: [], upTo: 1 });
  });
});

function planAt(plans: readonly Plan[], at: number): Plan {
  return present(plans[at], "there is such a plan");
}

test("what an earlier owner has granted is not under way here", () => {
  const first = openBatch();
  takeAll(first, wantTool("pay#1", "once"));
  const row = present(settled(first).tools[0], "it was granted").row;
  expect([first.underWay, openBatch([row], 2).underWay]).toEqual([1, 0]);
});

describe("a call with a rate", () => {
  const rate = { name: "pay", perSecond: 10, burst: 3 };
  const effectId = effectIdOf(nameOf("pay#1"));
  const rated = { ...wantTool("pay#1", "idempotent"), rate };
  const rates = [{ rate: { ...rate, name: "shop/pay" }, count: 1, isEstimate: false }];

  test("is granted in its turn, and what comes after it does not wait", () => {
    const batch = openBatch();
    takeAll(batch, rated, step("beside"));
    const plan = settled(batch);
    expect([typesOf(plan), plan.rated, plan.upTo]).toEqual([["step.completed"], [{ effectId, rates }], 2]);
    expect([batch.waitingForRate, batch.isSettled]).toEqual([1, true]);
    batch.change({ kind: "admitted", effectId });
    const granted = settled(batch, 1);
    expect(granted.granted).toMatchObject([{ n: 1, row: { effectId, attempt: 1 } }]);
    // What was waited for is no matter of the ledger.
    expect(granted.tools[0]?.row).not.toHaveProperty("rate");
    expect([typesOf(granted), batch.waitingForRate]).toEqual([["tool.granted"], 0]);
    // A turn that nobody waits for is none.
    batch.change({ kind: "admitted", effectId });
    expect(typesOf(planOf(batch, 2))).toEqual([]);
  });

  test("waits anew when it is to be made again", () => {
    const before = openBatch();
    takeAll(before, rated);
    settled(before);
    before.change({ kind: "admitted", effectId });
    const row = present(settled(before).tools[0], "it was granted").row;
    const batch = openBatch([row], 2);
    takeAll(batch, rated);
    const plan = settled(batch);
    expect([typesOf(plan), plan.rated.length]).toEqual([["tool.unknown"], 1]);
    batch.change({ kind: "admitted", effectId });
    expect(settled(batch, 1).granted).toMatchObject([{ row: { attempt: 2 } }]);
  });

  test("that is refused at its turn waits for no other one", () => {
    const batch = openBatch([], 1, { missingSecrets: (names) => names });
    takeAll(batch, { ...rated, secrets: ["key"] });
    settled(batch);
    batch.change({ kind: "admitted", effectId });
    expect([settled(batch).refused, batch.waitingForRate]).toMatchObject([[{ n: 1 }], 0]);
  });

  test("does not keep a job whose code has ended", () => {
    const batch = openBatch();
    takeAll(batch, rated);
    settled(batch);
    takeAll(batch, { kind: "completed", output: 1 });
    expect(planOf(batch).end).toEqual({ kind: "completed", output: 1 });
  });

  test("waits for more budget where others have spent it by its turn, and then for its turn again", () => {
    const account = { limit: { usdMicros: 5 }, reserved: {}, spent: {} };
    const costly = (call: string): AgentOp => ({ ...wantTool(call, "once"), rate, cost: { usdMicros: 5 } });
    const batch = openBatch();
    takeAll(batch, costly("pay#1"), costly("pay#2"));
    const waiting = present(batch.plan(0, { account }), "both wait for their turn");
    expect(waiting.rated).toHaveLength(2);
    batch.settle(waiting);
    const other = effectIdOf(nameOf("pay#2"));
    batch.change({ kind: "admitted", effectId });
    batch.change({ kind: "admitted", effectId: other });
    const granted = present(batch.plan(0, { account }), "one of them is granted");
    expect(granted.granted).toMatchObject([{ row: { effectId } }]);
    batch.settle(granted);
    expect([batch.waitingForRate, batch.shortages.length]).toEqual([0, 1]);
    batch.change({ kind: "raised", inbox: 1, add: { usdMicros: 5 }, principal: "ann" });
    const raised = present(batch.plan(1, { account: granted.account }), "there is more");
    expect(raised.rated).toMatchObject([{ effectId: other }]);
    batch.settle(raised);
    batch.change({ kind: "admitted", effectId: other });
    const last = present(batch.plan(2, { account: raised.account }), "it is its turn");
    expect(last.granted).toMatchObject([{ row: { effectId: other } }]);
  });

  test("loses no turn where the budget is raised in the append in which it came", () => {
    const account = { limit: { usdMicros: 5 }, reserved: { usdMicros: 5 }, spent: {} };
    const batch = openBatch();
    takeAll(batch, { ...rated, cost: { usdMicros: 5 } });
    batch.settle(present(batch.plan(0, { account: { ...account, reserved: {} } }), "it waits for its turn"));
    batch.change({ kind: "admitted", effectId });
    batch.change({ kind: "raised", inbox: 1, add: { usdMicros: 5 }, principal: "ann" });
    const plan = present(batch.plan(0, { account }), "there is more");
    expect([plan.rated.length + plan.granted.length, plan.starved.size]).toEqual([1, 0]);
  });

  test("whose secrets its node does not have does not wait for its turn any more", () => {
    const batch = openBatch([], 1, { missingSecrets: (names) => names });
    takeAll(batch, { ...rated, secrets: ["key"] });
    settled(batch);
    batch.change({ kind: "admitted", effectId });
    expect(settled(batch).refused).toMatchObject([{ error: { code: "E_CONFIG" } }]);
    expect(batch.waitingForRate).toBe(0);
  });
});

describe("a job whose end is decided, whatever its code does", () => {
  const call = nameOf("t");
  const effectId = effectIdOf(call);

  test("makes no call any more that it has not made", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "once"));
    settled(batch);
    batch.end({ kind: "cancelled" });
    takeAll(batch, wantTool("new#1", "once"));
    expect(settled(batch, 1)).toMatchObject({ events: [], granted: [], upTo: 2 });
    takeAll(batch, outcome("t", { kind: "succeeded", result: 1 }), wantTool("new#2", "read"));
    expect(settled(batch, 1)).toMatchObject({
      events: [{ type: "tool.succeeded" }], granted: [], end: { kind: "cancelled" },
    });
  });

  test("makes none whose turn comes then", () => {
    const batch = openBatch();
    const rate = { perSecond: 1, burst: 1, name: "pay" };
    takeAll(batch, wantTool("t", "once"), { ...wantTool("pay#1", "once"), rate });
    expect(settled(batch).rated).toHaveLength(1);
    batch.end({ kind: "cancelled" });
    batch.change({ kind: "admitted", effectId: effectIdOf(nameOf("pay#1")) });
    expect(settled(batch, 1)).toMatchObject({ events: [], granted: [] });
  });

  test("makes again what may be made again, and whose outcome nobody would know else", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "idempotent"));
    settled(batch);
    batch.end({ kind: "cancelled" });
    batch.change({ kind: "lost", effectId, reason: "its time was over" });
    const plan = settled(batch, 1);
    expect(typesOf(plan)).toEqual(["tool.unknown", "tool.granted"]);
    expect(plan).not.toHaveProperty("end");
  });

  test("makes none again of which somebody says that it has not happened", () => {
    const batch = openBatch();
    takeAll(batch, wantTool("t", "once", true));
    settled(batch);
    batch.end({ kind: "cancelled" });
    batch.change({ kind: "lost", effectId, reason: "its time was over" });
    expect(settled(batch, 1).doubts).toHaveLength(1);
    batch.offered(1, {
      what: { kind: "resolved", call, effectId, resolution: { kind: "not-done" }, by: { kind: "reconcile" } },
    });
    takeAll(batch, { kind: "took", offer: 1 }, wantTool("t", "once", true));
    expect(settled(batch, 2)).toMatchObject({
      events: [{ type: "tool.resolved" }], granted: [], end: { kind: "cancelled" },
    });
  });
});
