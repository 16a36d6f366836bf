import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { JobId } from "../../../../src/base/ids.ts";
import { MiB } from "../../../../src/base/units.ts";
import type { CallName } from "../../../../src/jobs/core/ids.ts";
import type { JobEvent } from "../../../../src/jobs/core/log/event.ts";
import { REPLAY_STALL_MS } from "../../../../src/jobs/worker/agent-run.ts";
import { defineAgent, type Agent } from "../../../../src/sdk/agent.ts";
import type { Job, JobScope } from "../../../../src/sdk/job.ts";
import { defineSignal } from "../../../../src/sdk/signal.ts";
import { defineTool, notDone, type Tool } from "../../../../src/sdk/tool.ts";
import { isToolRejected, type ApprovalRule } from "../../../../src/sdk/tool-approval.ts";
import { AgentHost } from "../../../support/agent-host.ts";

const CALL = (name: string): CallName => name as CallName;
const documents = defineSignal("documents", z.object({ url: z.string() }));

/** An agent from anything to anything. */
function agentOf(run: (job: Job, input: unknown) => unknown): Agent {
  return defineAgent({
    name: "test", input: z.any(), output: z.any(), run: async (job, input) => await run(job, input),
  });
}

function hostOf(run: (job: Job, input: unknown) => unknown, log: readonly JobEvent[] = []): AgentHost {
  return new AgentHost({ agent: agentOf(run), log });
}

/** Runs the code to its end, or to where it waits. */
async function endOf(run: (job: Job, input: unknown) => unknown): Promise<unknown> {
  const host = hostOf(run);
  await host.goOn();
  return host.end;
}

function stepDone(call: string, value: unknown): JobEvent {
  return { type: "step.completed", call: CALL(call), value };
}

describe("steps", () => {
  test("start once everything before them is committed, and code has their values before that", async () => {
    const begun: string[] = [];
    const host = hostOf(async (job) => {
      await job.step("a", () => begun.push("a"));
      begun.push("after a");
      await job.step("b", () => begun.push("b"));
    });
    await host.clock.settle();
    expect(begun).toEqual(["a", "after a"]);
    host.commit();
    await host.clock.settle();
    expect(begun).toEqual(["a", "after a", "b"]);
    // The last record and the end leave together.
    expect(host.uncommitted).toBe(2);
  });

  test("that only read start at once, up to 64 operations ahead", async () => {
    let begun = 0;
    const host = hostOf(async (job) => {
      for (let at = 0; at < 100; at += 1) await job.step("read", () => (begun += 1), { effect: "read" });
      await job.step("write", () => (begun += 1));
    });
    await host.clock.settle();
    expect([begun, host.uncommitted]).toEqual([64, 64]);
    host.commit(10);
    await host.clock.settle();
    expect([begun, host.uncommitted]).toEqual([74, 64]);
    host.commit();
    await host.clock.settle();
    expect([begun, host.uncommitted]).toEqual([100, 26]);
    await host.goOn();
    expect([begun, host.end]).toEqual([101, { kind: "completed" }]);
  });

  test("give code plain data, live as in replay, that nothing it does to them changes", async () => {
    const seen: unknown[] = [];
    const run = async (job: Job): Promise<void> => {
      const value = await job.step("a", () => ({ at: new Date(0), list: [1], none: undefined }));
      seen.push(structuredClone(value));
      value.list.push(2);
    };
    const host = hostOf(run);
    await host.goOn();
    const plain = { at: "1970-01-01T00:00:00.000Z", list: [1] };
    expect(host.log).toEqual([stepDone("a#1", plain)]);
    await hostOf(run, host.log).clock.settle();
    expect(seen).toEqual([plain, plain]);
  });

  test("that throw give code an error of name, message and code, live as in replay", async () => {
    const seen: unknown[] = [];
    const run = async (job: Job): Promise<void> => {
      const thrown = Object.assign(new TypeError("no luck"), { code: "E_LUCK", secret: 1 });
      await job.step("a", () => Promise.reject(thrown)).catch((error: unknown) => seen.push(error));
      expect(seen.at(-1)).not.toBe(thrown);
    };
    const host = hostOf(run);
    await host.goOn();
    await hostOf(run, host.log).clock.settle();
    expect(host.log).toMatchObject([{ type: "step.failed", error: { name: "TypeError", code: "E_LUCK" } }]);
    const shown = seen.map((error) => ({ ...(error as Error), message: (error as Error).message }));
    expect(shown).toEqual([1, 2].map(() => ({ name: "TypeError", message: "no luck", code: "E_LUCK" })));
  });

  test.each([
    ["a map", () => new Map(), "E_INVALID", /the step "a#1" answered is an instance of Map, no plain data/],
    ["a function inside", () => ({ list: [() => 1] }), "E_INVALID", /a function at list\[0\], no plain data/],
    ["too much", () => "x".repeat(64 * MiB), "E_TOO_LARGE", /above 67108864 bytes/],
  ])("that answer %s have failed with the reason", async (_what, body, code, message) => {
    expect(await endOf((job) => job.step<unknown>("a", body))).toMatchObject({
      kind: "failed", error: { code, message: expect.stringMatching(message) as unknown },
    });
  });

  test.each([
    ["a name with a slash", (job: Job) => job.step("a/b", () => 1), /"a\/b" cannot name a step/],
    ["a second one of its name under way",
      (job: Job) => Promise.all([job.step("a", () => 1), job.step("a", () => 2)]), /the call "a" is not over/],
    ["calls inside", (job: Job) => job.step("a", () => job.step("b", () => 1)), /inside of a step/],
    ["names that grow too long", async (job: Job) => {
      const deep = async (scope: JobScope, n: number): Promise<unknown> =>
        n === 0 ? 1 : await scope.all({ ["x".repeat(40)]: (branch: JobScope) => deep(branch, n - 1) });
      await deep(job, 9);
    }, /200 is the limit/],
  ])("with %s are refused", async (_what, run, message) => {
    const refused = { code: "E_INVALID", message: expect.stringMatching(message) as unknown };
    expect(await endOf(run)).toMatchObject({ kind: "failed", error: refused });
  });
});

test("code that is to go on elsewhere ends the step that runs, and begins none", async () => {
  let end = (): void => undefined;
  let begun = 0;
  const agent = defineAgent({
    name: "test", input: z.any(), output: z.any(),
    run: async (job) => {
      await job.step("one", () => new Promise<null>((resolve) => (end = () => resolve(null))));
      return await job.step("two", () => ++begun);
    },
  });
  const host = new AgentHost({ agent });
  await host.goOn();
  host.send({ kind: "leave", run: 1 });
  await host.goOn();
  expect(host.heard.filter(({ kind }) => kind === "left")).toEqual([]);
  end();
  await host.goOn();
  expect(host.log).toMatchObject([{ type: "step.completed" }]);
  expect([begun, host.heard.filter(({ kind }) => kind === "left").length]).toEqual([0, 1]);
});

test("a step begins only while the fence holds, and when its node says so again", async () => {
  let begun = 0;
  const agent = defineAgent({
    name: "test", input: z.any(), output: z.any(), run: (job) => job.step("one", () => ++begun),
  });
  const host = new AgentHost({ agent });
  host.mayAct = false;
  await host.goOn();
  expect([begun, host.heard]).toEqual([0, [{ kind: "not-begun", run: 1 }]]);
  host.beginAgain();
  await host.goOn();
  expect([begun, host.heard.length]).toEqual([0, 2]);
  host.mayAct = true;
  host.beginAgain();
  await host.goOn();
  expect([begun, host.end]).toEqual([1, { kind: "completed", output: 1 }]);
});

describe("the code of an agent", () => {
  const doubled = defineAgent({
    name: "double",
    input: z.object({ n: z.number() }),
    output: z.object({ n: z.number(), note: z.string().default("") }),
    run: async (_job, { n }) => ({ n: n * 2 }),
  });

  test("answers what its output schema makes of it", async () => {
    const host = new AgentHost({ agent: doubled, input: { n: 2 } });
    await host.goOn();
    expect(host.end).toEqual({ kind: "completed", output: { n: 4, note: "" } });
  });

  test("fails for an input that its schema refuses, and for an output", async () => {
    const host = new AgentHost({ agent: doubled, input: { n: "2" } });
    await host.goOn();
    expect(host.end).toMatchObject({ kind: "failed", error: { code: "E_INVALID" } });
    const wrong = defineAgent({ name: "w", input: z.any(), output: z.string(), run: () => 1 as unknown as string });
    const other = new AgentHost({ agent: wrong });
    await other.goOn();
    expect(other.end).toMatchObject({ kind: "failed", error: { code: "E_HANDLER" } });
  });

  test("has a time that never goes back, and the same one, the same numbers and UUIDs in replay", async () => {
    const run = async (job: Job): Promise<unknown> => {
      const early = [job.now(), job.uuid(), job.uuid(), job.random(), job.random()];
      const step = await job.step("a", () => 1);
      return [...early, step, job.now()];
    };
    const host = hostOf(run);
    await host.goOn();
    const again = hostOf(run, host.log);
    await again.clock.advance(5_000);
    expect(again.end).toEqual(host.end);
    const { output } = host.end as { output: unknown };
    const [early, one, two, first, second, , late] = output as [number, string, string, number, number, 1, number];
    expect(late).toBeGreaterThanOrEqual(early);
    expect(first).not.toBe(second);
    expect(one).not.toBe(two);
    expect(one).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  test("tells whoever watches, but not again in replay", async () => {
    const run = async (job: Job): Promise<void> => {
      job.emit("one");
      await job.step("a", () => 1);
      job.emit({ two: 2 });
      await job.step("b", () => 1);
    };
    const host = hostOf(run);
    await host.goOn();
    expect(host.emitted).toEqual(["one", { two: 2 }]);
    const again = hostOf(run, host.log);
    await again.goOn();
    expect(again.emitted).toEqual([]);
  });

  test("is not heard any more once its run was dropped", async () => {
    let signal: AbortSignal | undefined;
    const host = hostOf(async (job) => {
      signal = job.signal;
      await job.sleep("a", 1);
      await job.step("b", () => 1);
    });
    await host.goOn();
    host.drop();
    const { length } = host.heard;
    host.offer({ kind: "timer-fired" }, CALL("a#1"));
    await host.goOn();
    expect(host.heard.length).toBe(length);
    expect(signal?.aborted).toBe(true);
  });
});

describe("waits", () => {
  test("ask the node, say that nothing goes on, and end with its offer", async () => {
    const host = hostOf(async (job) => {
      await job.sleep("cool off", "2 days");
      return await job.waitFor(documents, { timeout: "1 h" });
    });
    await host.goOn();
    const dueMs = host.clock.wallMs() + 172_800_000;
    expect(host.told).toEqual([{ kind: "want-wait", call: "cool off#1", wait: { kind: "timer", dueMs } }]);
    expect(host.isIdle).toBe(true);
    host.offer({ kind: "timer-fired" }, CALL("cool off#1"));
    await host.goOn();
    expect(host.waits.get(CALL("documents#1"))).toMatchObject({ kind: "signal", signal: "documents" });
    // What nobody waits for, or does not any more, is not taken.
    host.offer({ kind: "timer-fired" }, CALL("cool off#1"));
    host.offer({ kind: "signal", payload: { url: "u" } }, CALL("documents#1"));
    host.offer({ kind: "timer-fired" }, CALL("documents#1"));
    await host.goOn();
    expect(host.end).toEqual({ kind: "completed", output: { url: "u" } });
    expect(host.told.filter(({ kind }) => kind === "took")).toHaveLength(2);
  });

  test("end when their log says, however often a job is taken over", async () => {
    const run = (job: Job): Promise<void> => job.sleep("a", 60_000);
    const host = hostOf(run);
    await host.goOn();
    await host.clock.advance(30_000);
    const again = new AgentHost({ agent: agentOf(run), log: host.log, clock: host.clock });
    await again.goOn();
    expect(again.waits.get(CALL("a#1"))).toEqual(host.waits.get(CALL("a#1")));
    expect(again.log).toEqual(host.log);
  });

  test("answer undefined when the time is over, and fail for what the signal's schema refuses", async () => {
    const late = hostOf(async (job) => (await job.waitFor(documents, { timeout: 1 })) ?? "nothing");
    await late.goOn();
    late.offer({ kind: "timer-fired" }, CALL("documents#1"));
    await late.goOn();
    expect(late.end).toEqual({ kind: "completed", output: "nothing" });
    const wrong = hostOf((job) => job.waitFor(documents));
    await wrong.goOn();
    wrong.offer({ kind: "signal", payload: { url: 1 } }, CALL("documents#1"));
    await wrong.goOn();
    expect(wrong.end).toMatchObject({ kind: "failed", error: { code: "E_INVALID" } });
  });

  test("the node refuses are an error, which is in the log", async () => {
    const run = async (job: Job): Promise<unknown> => {
      await expect(job.sleep("a", 1)).rejects.toBeInstanceOf(Error);
      return await job.step("b", () => 2);
    };
    const host = hostOf(run);
    await host.clock.settle();
    host.refuse(1, { name: "AetherError", code: "E_QUOTA", message: "full" });
    await host.goOn();
    expect(host.end).toEqual({ kind: "completed", output: 2 });
    const again = hostOf(run, host.log);
    await again.goOn();
    expect(again.end).toEqual(host.end);
  });
});

describe("an approval", () => {
  const run = (summary: string) => async (job: Job): Promise<unknown> => {
    const first = await job.approve("manager", { summary, data: { cents: 5 }, timeout: "1 h" });
    const second = await job.approve("manager", { summary });
    return [first, second];
  };
  const decided = { kind: "decided", approved: true, principal: "ann", data: { note: "fine" } } as const;

  test("is what somebody decided, or that nobody has in time, live as in replay", async () => {
    const host = hostOf(run("Refund?"));
    await host.goOn();
    const untilMs = host.clock.wallMs() + 3_600_000;
    expect(host.waits.get(CALL("manager#1"))).toMatchObject({
      kind: "approval", name: "manager", summary: "Refund?", data: { cents: 5 }, untilMs,
    });
    host.offer({ kind: "timer-fired" }, CALL("manager#1"));
    await host.goOn();
    host.offer(decided, CALL("manager#2"));
    await host.goOn();
    expect(host.end).toEqual({
      kind: "completed", output: [{ approved: false }, { approved: true, by: "ann", data: { note: "fine" } }],
    });
    expect(host.log.map(({ type }) => type)).toEqual([
      "approval.requested", "timer.set", "timer.fired", "approval.requested", "approval.decided",
    ]);
    const again = hostOf(run("Refund?"), host.log);
    await again.goOn();
    expect([again.end, again.log]).toEqual([host.end, host.log]);
  });

  test("holds for what was shown, and for nothing else", async () => {
    const host = hostOf(run("Refund 5 cents?"));
    await host.goOn();
    host.offer(decided, CALL("manager#1"));
    await host.goOn();
    const other = hostOf(run("Refund 5,000 cents?"), host.log);
    await other.goOn();
    expect(other.diverged).toMatchObject({ code: "E_NONDETERMINISM", details: { call: "manager#1" } });
  });

  test.each([
    ["a summary", {}, "E_INVALID"],
    ["less data", { summary: "?", data: "x".repeat(16_384) }, "E_TOO_LARGE"],
    ["plain data", { summary: "?", data: () => 1 }, "E_INVALID"],
  ])("needs %s", async (_what, options, code) => {
    const end = await endOf((job) => job.approve("manager", options as { summary: string }));
    expect(end).toMatchObject({ kind: "failed", error: { code } });
  });

  describe("of a tool", () => {
    const payment = (approval: ApprovalRule<{ cents: number }>): readonly [Agent, unknown[]] => {
      const paid: unknown[] = [];
      const pay = defineTool({
        name: "pay", input: z.object({ cents: z.int() }), output: z.int(), effect: "once", approval,
        execute: ({ cents }) => paid.push(cents),
      });
      const agent = defineAgent({
        name: "test", input: z.int(), output: z.any(), tools: { pay },
        run: async (job, cents) => {
          try {
            return await job.tools.pay({ cents });
          } catch (error) {
            if (!isToolRejected(error)) throw error;
            return { ...error, message: error.message };
          }
        },
      });
      return [agent, paid];
    };
    const asked = CALL("pay#1/approval#1");

    test.each<[string, ApprovalRule<{ cents: number }>, string]>([
      ["true", true, "pay"],
      ["a question", { summary: "Pay?", timeout: "1 h" }, "Pay?"],
      ["a rule", ({ cents }) => cents > 10, "pay"],
      ["a rule that asks", ({ cents }) => ({ summary: `Pay ${cents}?` }), "Pay 20?"],
    ])("that is %s comes before its grant, and says what it is about", async (_what, approval, summary) => {
      const [agent, paid] = payment(approval);
      const host = new AgentHost({ agent, input: 20 });
      await host.goOn();
      expect(host.waits.get(asked)).toMatchObject({ name: "pay", tool: "pay", summary, data: { cents: 20 } });
      expect([paid, host.log.some(({ type }) => type === "tool.granted")]).toEqual([[], false]);
      host.offer(decided, asked);
      await host.goOn();
      expect([host.end, paid]).toEqual([{ kind: "completed", output: 1 }, [20]]);
      const types = host.log.map(({ type }) => type);
      expect(types.indexOf("approval.decided")).toBeLessThan(types.indexOf("tool.granted"));
      const again = new AgentHost({ agent, input: 20, log: host.log });
      await again.goOn();
      expect([again.end, paid]).toEqual([host.end, [20]]);
    });

    test("that its rule does not ask for is none", async () => {
      const [agent, paid] = payment(({ cents }) => cents > 10);
      const host = new AgentHost({ agent, input: 5 });
      await host.goOn();
      expect([host.end, paid]).toEqual([{ kind: "completed", output: 1 }, [5]]);
    });

    test("that is refused, or that nobody gives in time, is an error which code may catch", async () => {
      const ends = [];
      for (const entry of [{ ...decided, approved: false }, { kind: "timer-fired" }] as const) {
        const [agent, paid] = payment({ timeout: "1 h" });
        const host = new AgentHost({ agent, input: 20 });
        await host.goOn();
        host.offer(entry, asked);
        await host.goOn();
        ends.push(host.end);
        expect([paid, host.log.some(({ type }) => type === "tool.granted")]).toEqual([[], false]);
      }
      expect(ends).toMatchObject([
        { output: { code: "E_REJECTED", details: { tool: "pay", by: "ann", data: { note: "fine" } } } },
        { output: { code: "E_REJECTED", details: { tool: "pay" }, message: expect.stringMatching(/in time/) as unknown } },
      ]);
    });

    test("holds for its input: with another one the call is neither made nor asked about", async () => {
      const [agent, paid] = payment(true);
      const host = new AgentHost({ agent, input: 20 });
      await host.goOn();
      host.offer(decided, asked);
      await host.clock.settle();
      const other = new AgentHost({ agent, input: 20_000, log: host.log });
      await other.goOn();
      expect(other.diverged).toMatchObject({ code: "E_NONDETERMINISM", details: { call: asked } });
      expect(paid).toEqual([]);
    });

    test("that says something else than yes, no or what to ask does not count as allowed", async () => {
      for (const answer of [Promise.resolve(false), 1, "no", null, undefined, []]) {
        const [agent, paid] = payment((() => answer) as unknown as ApprovalRule<{ cents: number }>);
        const host = new AgentHost({ agent, input: 20 });
        await host.goOn();
        expect([host.end, paid]).toMatchObject([{ kind: "failed", error: { code: "E_INVALID" } }, []]);
      }
    });
  });

  test("is not waited for by a job that is cancelled", async () => {
    const host = hostOf(run("Refund?"));
    await host.goOn();
    host.offer({ kind: "cancel" });
    await host.goOn();
    expect(host.end).toEqual({ kind: "cancelled" });
  });
});

describe("branches", () => {
  test("have names of their own, and what one throws is thrown", async () => {
    const run = async (job: Job): Promise<unknown> => {
      const first = await job.all({
        a: (branch) => branch.step("load", () => 1), b: (branch) => branch.step("load", () => "2"),
      });
      const second = await job.all({ a: (branch) => branch.step("load", () => 3) });
      return [first, second];
    };
    const host = hostOf(run);
    await host.goOn();
    expect(host.end).toEqual({ kind: "completed", output: [{ a: 1, b: "2" }, { a: 3 }] });
    expect(host.log.map((event) => "call" in event && event.call)).toEqual([
      "a#1/load#1", "b#1/load#1", "a#2/load#1",
    ]);
    const failing = await endOf((job) => job.all({
      a: (branch) => branch.waitFor(documents), b: () => Promise.reject(new TypeError("no")),
    }));
    expect(failing).toMatchObject({ kind: "failed", error: { name: "TypeError" } });
  });
});

describe("a cancel", () => {
  test("fails what the code waits for, and lets it clean up", async () => {
    const begun: string[] = [];
    const host = hostOf(async (job) => {
      try {
        await Promise.all([job.sleep("a", "1 day"), job.waitFor(documents)]);
      } finally {
        begun.push(String(job.signal.aborted));
        await job.step("clean", () => begun.push("clean"));
      }
    });
    await host.goOn();
    host.offer({ kind: "cancel" });
    host.offer({ kind: "cancel" });
    await host.goOn();
    expect(begun).toEqual(["true", "clean"]);
    expect(host.end).toEqual({ kind: "cancelled" });
    expect(host.log.filter(({ type }) => type === "job.cancel-requested")).toHaveLength(1);
  });

  test("hits the next call of code that waits for a tool, whose outcome is known first", async () => {
    const [agent, world] = toolAgent("read", async (job) => {
      await job.tools.pay({ n: 1 });
      await job.step("never", () => 1);
    });
    const host = new AgentHost({ agent });
    await host.goOn();
    host.offer({ kind: "cancel" });
    await host.goOn();
    world.end(5);
    await host.goOn();
    expect(host.end).toEqual({ kind: "cancelled" });
    expect(host.log.map(({ type }) => type)).toEqual(["tool.granted", "job.cancel-requested", "tool.succeeded"]);
  });

  test.each(["read", "idempotent"] as const)("tells a tool (%s) to stop if it changes nothing", async (effect) => {
    const [agent, world] = toolAgent(effect, async (job) => {
      await job.tools.pay({ n: 1 }).finally(() => job.step("clean", () => 1));
    });
    const host = new AgentHost({ agent });
    await host.goOn();
    host.offer({ kind: "cancel" });
    await host.goOn();
    const signal = world.calls[0]?.signal;
    expect(signal?.aborted).toBe(effect === "read");
    // As tools do that hand the signal on.
    if (signal?.aborted === true) world.fail(signal.reason);
    else world.end(5);
    await host.goOn();
    expect(host.end).toEqual({ kind: "cancelled" });
    const again = new AgentHost({ agent, log: host.log });
    await again.goOn();
    expect(again.end).toEqual({ kind: "cancelled" });
    expect(world.calls).toHaveLength(1);
  });
});

interface ToolWorld {
  readonly calls: { readonly effectId: string; readonly signal: AbortSignal; assertOwner(): void }[];
  end(result: unknown): void;
  fail(error: unknown): void;
}

/** An agent with the tool `pay`, which ends as the test says. */
function toolAgent(
  effect: "read" | "idempotent" | "once", run: (job: PayJob) => Promise<unknown>,
): readonly [Agent, ToolWorld] {
  let settle: { end(value: unknown): void; fail(error: unknown): void } | undefined;
  const calls: ToolWorld["calls"] = [];
  const pay = defineTool({
    ...payOf(effect),
    execute: (_input, context) => {
      calls.push(context);
      return new Promise<number>((resolve, reject) => {
        settle = { end: (value) => resolve(value as number), fail: reject };
      });
    },
    ...(effect === "once" ? { settleMs: 700, reconcile: () => ({ status: "done" as const, result: 7 }) } : {}),
  });
  const agent = defineAgent({ name: "test", input: z.any(), output: z.any(), tools: { pay }, run });
  return [agent, { calls, end: (value) => settle?.end(value), fail: (error) => settle?.fail(error) }];
}

const payOf = <E extends "read" | "idempotent" | "once">(effect: E) => ({
  name: "pay", input: z.object({ n: z.int().default(3) }), output: z.number(), timeoutMs: 1_000, effect,
}) as const;
type PayParts = ReturnType<typeof payOf>;
type PayJob = Job<{ readonly pay: Tool<"pay", PayParts["input"], PayParts["output"]> }>;
const payOnce = async (job: PayJob): Promise<unknown> => await job.tools.pay({});

describe("tools", () => {
  test("are called once their grant is committed, and while the fence holds", async () => {
    const [agent, world] = toolAgent("once", payOnce);
    const host = new AgentHost({ agent });
    await host.clock.settle();
    const want = { kind: "want-tool", call: "pay#1", input: { n: 3 }, canReconcile: true, settleMs: 700 };
    expect(host.told).toMatchObject([want]);
    expect(world.calls).toEqual([]);
    host.mayAct = false;
    await host.goOn();
    expect(world.calls).toEqual([]);
    expect(host.heard.at(-1)).toMatchObject({ kind: "not-dispatched", call: "pay#1" });
    host.mayAct = true;
    host.grantAgain(CALL("pay#1"));
    await host.goOn();
    expect(world.calls).toHaveLength(1);
    host.mayAct = false;
    expect(() => world.calls[0]?.assertOwner()).toThrow(expect.objectContaining({ code: "E_FENCED" }));
    world.end(42);
    await host.goOn();
    expect(host.end).toEqual({ kind: "completed", output: 42 });
  });

  test.each([
    ["once", new TypeError("reset"), "unknown"],
    ["once", notDone(new TypeError("refused")), "failed"],
    ["idempotent", new TypeError("reset"), "failed"],
    ["read", new TypeError("reset"), "failed"],
  ] as const)("of effect %s that throw %s are %s", async (effect, error, kind) => {
    const [agent, world] = toolAgent(effect, payOnce);
    const host = new AgentHost({ agent });
    await host.goOn();
    world.fail(error);
    await host.goOn();
    expect(host.told[1]).toMatchObject({ kind: "outcome", outcome: { kind } });
    expect(host.end === undefined).toBe(kind === "unknown");
    expect(host.isIdle).toBe(kind === "unknown");
  });

  test.each(["read", "idempotent"] as const)(
    "of effect %s that the fence stops are called again, and their job hears nothing of it", async (effect) => {
      const [agent, world] = toolAgent(effect, payOnce);
      const host = new AgentHost({ agent });
      await host.goOn();
      host.mayAct = false;
      expect(() => world.calls[0]?.assertOwner()).toThrow(expect.objectContaining({ code: "E_FENCED" }));
      host.mayAct = true;
      world.fail(new Error("stopped"));
      await host.goOn();
      expect(host.told[1]).toMatchObject({ kind: "outcome", outcome: { kind: "unknown" } });
      host.grantAgain(CALL("pay#1"));
      await host.goOn();
      expect(world.calls.map(({ effectId }) => effectId)).toEqual(Array(2).fill(world.calls[0]?.effectId));
      world.end(3);
      await host.goOn();
      expect(host.end).toEqual({ kind: "completed", output: 3 });
    },
  );

  test("of effect once that answer after their time are done after all", async () => {
    const [agent, world] = toolAgent("once", payOnce);
    const host = new AgentHost({ agent });
    await host.goOn();
    await host.clock.advance(1_000);
    await host.goOn();
    expect(host.log.at(-1)).toMatchObject({ type: "tool.unknown" });
    expect(world.calls[0]?.signal.aborted).toBe(true);
    world.end(8);
    await host.goOn();
    expect(host.log.at(-1)).toMatchObject({ type: "tool.resolved", by: { kind: "late" } });
    expect(host.end).toEqual({ kind: "completed", output: 8 });
    const again = new AgentHost({ agent, log: host.log });
    await again.goOn();
    expect(again.end).toEqual(host.end);
  });

  test("of effect once that answer after their time, and not as their schema says, end alike in replay", async () => {
    const [agent, world] = toolAgent("once", async (job) => {
      try {
        return await job.tools.pay({});
      } catch (error) {
        return (error as Error & { readonly code: string }).code;
      }
    });
    const host = new AgentHost({ agent });
    await host.goOn();
    await host.clock.advance(1_000);
    await host.goOn();
    world.end("no number");
    await host.goOn();
    expect(host.log.at(-1)).toMatchObject({
      type: "tool.resolved", by: { kind: "late" }, problem: expect.stringContaining("schema") as unknown,
    });
    const again = new AgentHost({ agent, log: host.log });
    await again.goOn();
    expect([host.end, again.end]).toEqual(Array(2).fill({ kind: "completed", output: "E_HANDLER" }));
  });

  test("get what a log can have: half of a character that a step or an error was cut in is none", async () => {
    const input = z.object({ note: z.string() });
    const note = defineTool({ name: "note", input, output: z.null(), effect: "read", execute: () => null });
    const agent = defineAgent({
      name: "test", input: z.any(), output: z.any(), tools: { note },
      run: async (job) => {
        const cut = await job.step("cut", () => "party \u{1f389}".slice(0, 7));
        await job.tools.note({ note: cut });
        const fail = (): never => {
          throw new RangeError(`${"x".repeat(1_999)}\u{1f389}`);
        };
        const message = await job.step("fail", fail).catch((error: unknown) => (error as Error).message);
        await job.tools.note({ note: message });
        return [cut, message];
      },
    });
    const host = new AgentHost({ agent });
    await host.goOn();
    expect(host.end).toMatchObject({ kind: "completed", output: ["party \ufffd", expect.stringMatching(/x\ufffd$/)] });
    const again = new AgentHost({ agent, log: host.log });
    await again.goOn();
    expect(again.end).toEqual(host.end);
  });

  test("that only read and have no time left have failed, and a late answer changes nothing", async () => {
    const [agent, world] = toolAgent("read", async (job) => {
      const { message } = await job.tools.pay({}).catch((error: unknown) => error as Error) as Error;
      await job.sleep("a", 1);
      return message;
    });
    const host = new AgentHost({ agent });
    await host.goOn();
    await host.clock.advance(1_000);
    world.end(8);
    await host.goOn();
    expect(host.log.map(({ type }) => type)).toEqual(["tool.granted", "tool.failed", "timer.set"]);
  });

  test.each([
    ["done", { kind: "done", result: 9 }, { kind: "completed", output: 9 }],
    ["something else", { kind: "done", result: "9" }, { kind: "failed", error: { code: "E_INVALID" } }],
    ["given up", { kind: "given-up", reason: "lost" }, { kind: "failed", error: { message: /lost/ } }],
  ] as const)("that somebody resolves as %s end so, live as in replay", async (_what, resolution, end) => {
    const [agent, world] = toolAgent("once", async (job) => {
      try {
        return await job.tools.pay({});
      } finally {
        await job.step("clean", () => 1);
      }
    });
    const host = new AgentHost({ agent });
    await host.goOn();
    world.fail(new TypeError("reset"));
    await host.goOn();
    host.resolve(CALL("pay#1"), resolution);
    await host.goOn();
    expect(host.end).toMatchObject({ kind: end.kind });
    expect(JSON.stringify(host.end)).toMatch(/9|E_INVALID|lost/);
    const again = new AgentHost({ agent, log: host.log });
    await again.goOn();
    expect(again.end).toEqual(host.end);
  });

  test("that have not happened are asked for again, under the same name", async () => {
    const [agent, world] = toolAgent("once", payOnce);
    const host = new AgentHost({ agent });
    await host.goOn();
    world.fail(new TypeError("reset"));
    await host.goOn();
    host.resolve(CALL("pay#1"), { kind: "not-done" });
    await host.goOn();
    expect(host.log.map(({ type }) => type)).toEqual(["tool.granted", "tool.unknown", "tool.resolved", "tool.granted"]);
    const [first, second] = world.calls;
    expect(second?.effectId).toBe(first?.effectId);
  });

  test("whose answer breaks their schema have happened, and code gets an error", async () => {
    const [agent, world] = toolAgent("once", payOnce);
    const host = new AgentHost({ agent });
    await host.goOn();
    world.end({ ok: true });
    await host.goOn();
    expect(host.log.at(-1)).toMatchObject({
      type: "tool.succeeded", result: { ok: true }, problem: expect.stringMatching(/not what its schema says/) as unknown,
    });
    expect(host.end).toMatchObject({ kind: "failed", error: { code: "E_HANDLER" } });
  });

  test.each([
    ["an input that its schema refuses", (job: PayJob) => job.tools.pay({ n: "1" as unknown as number }), /invalid/],
    ["no key and another of its name under way",
      (job: PayJob) => Promise.all([job.tools.pay({}), job.tools.pay({})]), /is not over/],
  ])("with %s are refused", async (_what, run, message) => {
    const [agent] = toolAgent("once", run);
    const host = new AgentHost({ agent });
    await host.clock.settle();
    // One of two may be under way by then: it ends before the job does.
    expect(JSON.stringify(host.told)).not.toMatch(/"n":"1"/);
    const [other] = toolAgent("once", async (job) => {
      await expect(run(job)).rejects.toThrow(message);
      return "refused";
    });
    const asked = new AgentHost({ agent: other });
    await asked.clock.settle();
    expect(asked.diverged).toBeUndefined();
  });

  test("are asked what became of a call", async () => {
    const [agent] = toolAgent("once", payOnce);
    const host = new AgentHost({ agent });
    await host.goOn();
    host.reconcile(CALL("pay#1"), "pay", { n: 3 });
    host.reconcile(CALL("pay#1"), "pay", { n: "3" });
    host.reconcile(CALL("pay#1"), "nope", {});
    await host.clock.settle();
    expect(host.answers).toEqual([
      { kind: "unknown", reason: expect.stringMatching(/no tool nope/) as unknown },
      { kind: "unknown", reason: expect.stringMatching(/input is invalid/) as unknown },
      { kind: "done", result: 7 },
    ]);
  });
});

describe("code that does not do what its log says", () => {
  const granted = async (): Promise<readonly JobEvent[]> => {
    const [agent] = toolAgent("once", payOnce);
    const host = new AgentHost({ agent });
    await host.goOn();
    return host.log;
  };

  test.each([
    ["another kind of call", (job: Job) => job.sleep("a", 1), /has a step as "a#1", the code made it a sleep/],
    ["its end", () => 1, /has a step as "a#1", the code has ended/],
    ["a time that was not asked for", (job: Job) => job.now(), /the code asked for it/],
  ])("does %s: it is told at once, and nothing is begun", async (_what, run, message) => {
    const host = hostOf(run, [stepDone("a#1", 1)]);
    await host.clock.settle();
    expect(host.diverged).toMatchObject({
      code: "E_NONDETERMINISM", message: expect.stringMatching(message) as unknown,
      details: { call: expect.any(String) as unknown },
    });
    expect(host.told).toEqual([]);
  });

  test.each([
    ["another call", (job: Job) => job.step("b", () => 1), /waits for "b#1"/],
    ["something that is no call", () => new Promise(() => undefined), /waits for something outside of job/],
  ])("waits for %s: it is told after five seconds, and nothing is begun", async (_what, run, message) => {
    const host = hostOf(run, [stepDone("a#1", 1)]);
    await host.clock.advance(REPLAY_STALL_MS - 1);
    expect(host.diverged).toBeUndefined();
    await host.clock.advance(1);
    expect(host.diverged).toMatchObject({ message: expect.stringMatching(message) as unknown });
    expect(host.told).toEqual([]);
  });

  test("calls a tool with another input: it gets neither its result nor a grant", async () => {
    const [agent, world] = toolAgent("once", async (job) => await job.tools.pay({ n: 4 }));
    const host = new AgentHost({ agent, log: await granted() });
    await host.goOn();
    expect(host.diverged).toMatchObject({ message: expect.stringMatching(/with another input/) as unknown });
    expect([host.told, world.calls]).toEqual([[], []]);
  });

  test("leaves out a call that was granted: nothing new is begun before that is known", async () => {
    const [agent] = toolAgent("once", async (job) => await job.tools.pay({}, { key: "other" }));
    const host = new AgentHost({ agent, log: await granted() });
    await host.clock.advance(REPLAY_STALL_MS);
    expect(host.diverged).toMatchObject({ details: { call: "pay#1" } });
    expect(host.told).toEqual([]);
  });
});

test("a job done again hears of ends at once, and asks for times that the other one asked for later", async () => {
  const seen: (readonly [string, number])[] = [];
  const run = async (job: Job): Promise<void> => {
    const branch = (name: string) => async (own: JobScope): Promise<void> => {
      await own.step(name, () => 0);
      seen.push([name, own.now()]);
    };
    await job.all({ a: branch("load"), b: branch("look") });
    await job.step("last", () => 0);
  };
  const repeated: JobEvent = { type: "job.repeated", of: "old-1" as JobId, kind: "fork" };
  const log = [repeated, stepDone("a#1/load#1", 0), stepDone("b#1/look#1", 0)];
  const host = hostOf(run, log);
  await host.goOn();
  expect(host.end).toEqual({ kind: "completed" });
  const first = seen.splice(0);
  expect(first.map(([name]) => name)).toEqual(["load", "look"]);
  // Whoever takes it over gives the code the same times.
  const after = new AgentHost({ agent: agentOf(run), log: host.log, isReplayOnly: true });
  await after.clock.advance(1_000);
  expect([after.diverged, seen]).toEqual([undefined, first]);
  const unmarked = hostOf(run, log.slice(1));
  await unmarked.goOn();
  expect(unmarked.diverged).toMatchObject({ code: "E_NONDETERMINISM" });
});

describe("continueAs", () => {
  const input = { cursor: 2 };
  const continued = expect.objectContaining({ kind: "continued", input });

  test("ends the run, and nothing of the code runs after it", async () => {
    const seen: string[] = [];
    const host = hostOf(async (job) => {
      await job.step("a", () => 1);
      try {
        return await job.continueAs(input);
      } finally {
        seen.push("after");
      }
    });
    await host.goOn();
    expect(host.end).toEqual(continued);
    expect(seen).toEqual([]);
  });

  test("is the end also of code that does not wait for it", async () => {
    const host = hostOf(async (job) => {
      void job.continueAs(input);
      await job.step("later", () => 1);
    });
    await host.goOn();
    expect(host.told).toEqual([continued]);
  });

  test("comes again when its owner died before it was stored, and where the log is over", async () => {
    const host = hostOf(async (job) => {
      await job.step("a", () => 1);
      return await job.continueAs(input);
    }, [stepDone("a#1", 1)]);
    await host.goOn();
    expect(host.told).toEqual([continued]);
    const early = hostOf((job) => job.continueAs(input), [stepDone("a#1", 1)]);
    await early.goOn();
    expect(early.diverged?.code).toBe("E_NONDETERMINISM");
  });

  test("is refused while calls are under way, and fails with the cancel after one", async () => {
    expect(await endOf(async (job) => {
      const nap = job.sleep("nap", 5);
      const [refused] = await Promise.allSettled([job.continueAs(input)]);
      await Promise.race([nap, Promise.resolve()]);
      return refused.status === "rejected" ? String(refused.reason) : "";
    })).toMatchObject({ output: expect.stringContaining('"nap#1"') });
    const host = hostOf(async (job) => {
      await Promise.allSettled([job.sleep("nap", 5)]);
      return await job.continueAs(input);
    });
    await host.goOn();
    host.offer({ kind: "cancel" });
    await host.goOn();
    expect(host.end).toEqual({ kind: "cancelled" });
  });

  test("is refused in a step, and with an input of no use", async () => {
    const strict = defineAgent({
      name: "test", input: z.object({ cursor: z.number() }), output: z.any(),
      run: async (job) => await Promise.all([
        job.step("a", () => job.continueAs(input)).catch((error: unknown) => Reflect.get(Object(error), "code")),
        job.continueAs({ cursor: "x" } as never).catch((error: unknown) => Reflect.get(Object(error), "code")),
      ]),
    });
    const host = new AgentHost({ agent: strict, input });
    await host.goOn();
    expect(host.end).toMatchObject({ kind: "completed", output: ["E_INVALID", "E_INVALID"] });
  });

  test("names the calls of later runs after them, and derives other values", async () => {
    const uuids: string[] = [];
    const agent = agentOf(async (job) => {
      uuids.push(job.uuid());
      await job.all({ b: (branch) => branch.step("a", () => 1) });
    });
    const later = new AgentHost({ agent, jobRun: 2 });
    await later.goOn();
    await new AgentHost({ agent }).goOn();
    expect(later.told[0]).toMatchObject({ call: "@2/b#1/a#1" });
    expect(uuids[0]).not.toBe(uuids[1]);
  });
});
