import { describe, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../../../src/base/errors.ts";
import { MiB } from "../../../../src/base/units.ts";
import { amountSchema } from "../../../../src/jobs/core/budget/amounts.ts";
import type { CallName } from "../../../../src/jobs/core/ids.ts";
import type { JobEvent } from "../../../../src/jobs/core/log/event.ts";
import { defineAgent, type Agent } from "../../../../src/sdk/agent.ts";
import type { Job, Tools } from "../../../../src/sdk/job.ts";
import type { LlmProvider, LlmRequest, LlmUsage } from "../../../../src/sdk/llm.ts";
import { scripted, type Script } from "../../../../src/sdk/llm/scripted.ts";
import { secret } from "../../../../src/sdk/secret.ts";
import { defineTool } from "../../../../src/sdk/tool.ts";
import { costMaxOfRequest } from "../../../../src/jobs/worker/call-cost.ts";
import { AgentHost } from "../../../support/agent-host.ts";

type Run = (job: Job<Tools, "fast">) => unknown;

function agentOf(provider: LlmProvider, run: Run): Agent {
  return defineAgent({
    name: "test", input: z.any(), output: z.any(), models: { fast: provider }, run: async (job) => await run(job),
  });
}

/** Runs an agent whose model answers by a script, and again from its log alone; both have to end alike. */
async function runTwice(script: Script, run: Run): Promise<AgentHost> {
  const host = new AgentHost({ agent: agentOf(scripted(script), run) });
  await host.goOn();
  if (!host.isEnded) return host;
  const asksNobody = scripted(() => {
    throw new RangeError("a recorded answer is not asked for again");
  });
  const again = new AgentHost({ agent: agentOf(asksNobody, run), log: host.log });
  await again.goOn();
  expect(again.end).toEqual(host.end);
  expect(again.diverged).toBeUndefined();
  return host;
}

function callsIn(log: readonly JobEvent[]): readonly CallName[] {
  return log.flatMap((event) => (event.type === "tool.granted" ? [event.call] : []));
}

function busy(retryAfterMs?: number): AetherError {
  const details = { status: 429, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  return new AetherError("E_OVERLOADED", "busy", { details });
}

describe("job.llm", () => {
  test("is a call of effect read, recorded with model and tokens, and not made again in replay (JOB8)", async () => {
    const host = await runTwice(["forty-two"], async (job) => (await job.llm("fast", { prompt: "how many?" })).text);
    expect(host.end).toEqual({ kind: "completed", output: "forty-two" });
    expect(host.log).toMatchObject([
      {
        type: "tool.granted", call: "llm.fast#1", tool: "llm.fast", effect: "read",
        input: { messages: [{ role: "user", text: "how many?" }] },
      },
      {
        type: "tool.succeeded", result: { text: "forty-two", finish: "stop" },
        usage: { model: "scripted", outputTokens: 3, isEstimated: true },
      },
    ]);
    expect(host.emitted).toEqual([{ kind: "llm-token", call: "llm.fast#1", text: "forty-two" }]);
  });

  test("gives data of the form that was asked for, which the model is told", async () => {
    const output = z.object({ refund: z.boolean(), cents: z.int().default(5) });
    const script: Script = ({ output: form }) => ({ json: { refund: form?.["type"] === "object" } });
    const host = await runTwice(script, async (job) =>
      (await job.llm("fast", { prompt: "refund?", output })).output);
    expect(host.end).toEqual({ kind: "completed", output: { refund: true, cents: 5 } });
  });

  test("sends an answer of another form back once, as a call of its own, and takes it in a fence", async () => {
    const seen: LlmRequest[] = [];
    const script: Script = (request) => {
      seen.push(request);
      return request.messages.length === 1 ? '{"refund":"maybe"}' : '```json\n{"refund":true}\n```';
    };
    const host = await runTwice(script, async (job) =>
      (await job.llm("fast", { prompt: "refund?", output: z.object({ refund: z.boolean() }) })).output);
    expect(host.end).toEqual({ kind: "completed", output: { refund: true } });
    expect(callsIn(host.log)).toEqual(["llm.fast#1", "llm.fast#1/again#1"]);
    expect(seen[1]?.messages).toEqual([
      { role: "user", text: "refund?" },
      { role: "assistant", text: '{"refund":"maybe"}' },
      { role: "user", text: expect.stringMatching(/cannot be used: .*refund/) as string },
    ]);
  });

  test.each([
    ["is wrong again", {}, ["no", "no"], /did not answer as it was asked to: it is not JSON/, 2],
    ["is not to be repaired", { repairs: 0 }, ["no"], /it is not JSON/, 1],
    ["was cut", {}, [{ text: '{"refund":', finish: "length" }], /raise maxTokens/, 1],
  ] as const)("that %s is E_LLM_ANSWER with the text", async (_what, options, script, message, requests) => {
    const host = await runTwice(script, async (job) =>
      await job.llm("fast", { prompt: "refund?", output: z.object({ refund: z.boolean() }), ...options }));
    expect(host.end).toMatchObject({
      kind: "failed", error: { code: "E_LLM_ANSWER", message: expect.stringMatching(message) as unknown },
    });
    expect(callsIn(host.log)).toHaveLength(requests);
  });

  const lookUp = defineTool({
    name: "look-up", description: "looks an order up", input: z.object({ order: z.string() }), output: z.int(),
    effect: "read", execute: () => 1,
  });

  test("tells the model of tools, and gives the code the calls that it asks for", async () => {
    const script: Script = ({ messages, tools }) => messages.length === 1
      ? { toolCalls: [{ id: "c1", name: tools?.[0]?.name ?? "", input: { order: "o-1" } }] }
      : `found ${JSON.stringify(messages.at(-1))}`;
    const host = await runTwice(script, async (job) => {
      const asked = [{ role: "user", text: "where is o-1?" }] as const;
      const first = await job.llm("fast", { messages: asked, tools: [lookUp] });
      const [call] = first.toolCalls;
      const result = { role: "tool", callId: call?.id ?? "", result: call?.input.order } as const;
      return (await job.llm("fast", { messages: [...asked, first.message, result], tools: [lookUp] })).text;
    });
    expect(host.end).toEqual({ kind: "completed", output: 'found {"role":"tool","callId":"c1","result":"o-1"}' });
    expect(callsIn(host.log)).toEqual(["llm.fast#1", "llm.fast#2"]);
  });

  test("sends calls of tools back that there are not, or whose input is wrong", async () => {
    const wrong = { toolCalls: [
      { id: "c1", name: "look-up", input: { order: 1 } }, { id: "c2", name: "erase", input: {} },
    ] };
    const seen: LlmRequest[] = [];
    const script: Script = (request) => (seen.push(request) === 1 ? wrong : "none then");
    const host = await runTwice(script, async (job) =>
      (await job.llm("fast", { prompt: "x", tools: [lookUp] })).text);
    expect(host.end).toEqual({ kind: "completed", output: "none then" });
    expect(seen[1]?.messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "tool", "user"]);
    expect(JSON.stringify(seen[1]?.messages.at(-1))).toMatch(/"look-up\\" is invalid.*there is no tool \\"erase/);
  });

  test("waits as long as the model says, durably, and asks again: each request is in the log", async () => {
    let requests = 0;
    const script: Script = () => {
      requests += 1;
      if (requests < 3) throw busy(requests === 1 ? 90_000 : undefined);
      return "at last";
    };
    const host = await runTwice(script, async (job) => (await job.llm("fast", { prompt: "x" })).text);
    expect([...host.waits]).toMatchObject([[
      "llm.fast#1/wait#1", { kind: "timer", dueMs: host.clock.wallMs() + 90_000 },
    ]]);
    host.offer({ kind: "timer-fired" }, "llm.fast#1/wait#1" as CallName);
    await host.goOn();
    expect([...host.waits]).toMatchObject([[
      "llm.fast#1/wait#2", { kind: "timer", dueMs: host.clock.wallMs() + 2_000 },
    ]]);
    host.offer({ kind: "timer-fired" }, "llm.fast#1/wait#2" as CallName);
    await host.goOn();
    expect(host.end).toEqual({ kind: "completed", output: "at last" });
    expect(callsIn(host.log)).toEqual(["llm.fast#1", "llm.fast#1/again#1", "llm.fast#1/again#2"]);
    const again = new AgentHost({
      agent: agentOf(scripted([]), async (job) => (await job.llm("fast", { prompt: "x" })).text), log: host.log,
    });
    await again.goOn();
    expect(again.end).toEqual(host.end);
  });

  test("asks again what its node, not sure of the job just then, has not sent", async () => {
    const host = await runTwice(() => {
      throw new AetherError("E_FENCED", "not now");
    }, (job) => job.llm("fast", { prompt: "x" }));
    expect([...host.waits.keys()]).toEqual(["llm.fast#1/wait#1"]);
  });

  test.each([
    ["that may not be made again", { retries: 0 }, busy(), "E_OVERLOADED"],
    ["that would fail again", {}, new AetherError("E_UNAUTHENTICATED", "who?"), "E_UNAUTHENTICATED"],
    ["whose wait is too long", {}, busy(3_600_001), "E_OVERLOADED"],
  ])("gives the code the error of a request %s", async (_what, options, error, code) => {
    const fails: Script = () => {
      throw error;
    };
    const host = await runTwice(fails, (job) => job.llm("fast", { prompt: "x", ...options }));
    expect(host.end).toMatchObject({ kind: "failed", error: { code, message: error.message } });
    expect(callsIn(host.log)).toHaveLength(1);
  });

  test.each([
    ["a model that is not there", (job: Job) => job.llm("slow", { prompt: "x" }), /no model "slow": it has "fast"/],
    ["nothing to ask", (job: Job) => job.llm("fast", {}), /either a prompt or a list of messages/],
    ["both of a form and tools",
      (job: Job) => job.llm("fast", { prompt: "x", output: z.string(), tools: [lookUp] }), /tools and an output/],
    ["retries without end", (job: Job) => job.llm("fast", { prompt: "x", retries: 11 }), /`retries`.* 0 to 10/],
    ["too much", (job: Job) => job.llm("fast", { prompt: "x".repeat(64 * MiB) }), /above 67108864 bytes/],
  ])("with %s is refused before anything is asked", async (_what, run, message) => {
    const host = await runTwice(["x"], run as Run);
    expect(host.end).toMatchObject({ kind: "failed", error: { message: expect.stringMatching(message) as unknown } });
    expect(host.log).toEqual([]);
  });

  test("of one model at the same time needs keys", async () => {
    const host = await runTwice(() => "x", async (job) => {
      const both = await job.all({
        a: async (branch) => (await branch.llm("fast", { prompt: "a" })).text,
        b: async () => (await job.llm("fast", { prompt: "b", key: "b" })).text,
      });
      return both;
    });
    expect(host.end).toEqual({ kind: "completed", output: { a: "x", b: "x" } });
    expect(callsIn(host.log)).toEqual(["a#1/llm.fast#1", "llm.fast/b#1"]);
  });

  test.each([Number.MAX_SAFE_INTEGER, -1, 0.5, "7"])("does not count %s tokens, which none has", async (tokens) => {
    const usage = { inputTokens: 1, outputTokens: tokens } as unknown as LlmUsage;
    const price = { inputPerMillion: 10_000, outputPerMillion: 10_000 };
    const provider = scripted([{ text: "yes", usage }], { price });
    const host = new AgentHost({ agent: agentOf(provider, (job) => job.llm("fast", { prompt: "x" })) });
    await host.goOn();
    const done = host.log.find(({ type }) => type === "tool.succeeded");
    expect(done).toMatchObject({ usage: { outputTokens: 1, isEstimated: true } });
    expect(amountSchema.safeParse(done?.type === "tool.succeeded" ? done.cost : undefined).success).toBe(true);
  });

  describe("of a model with a price that fails", () => {
    const lost = { outcome: "unknown" } as const;
    const price = { inputPerMillion: 1_000, outputPerMillion: 1_000 };
    const most = costMaxOfRequest(price, { messages: [{ role: "user", text: "x" }], maxTokens: 100 });

    test.each([
      ["with its answer on the way", new AetherError("E_UNAVAILABLE", "the stream ended", lost)],
      ["at a proxy that did not wait", new AetherError("E_UNAVAILABLE", "504", { ...lost, details: { status: 504 } })],
      ["for a reason that nobody knows", new TypeError("fetch failed")],
    ])("%s has cost what it could have cost at most", async (_when, error) => {
      const provider = scripted(() => {
        throw error;
      }, { price, maxTokens: 100 });
      const host = new AgentHost({ agent: agentOf(provider, (job) => job.llm("fast", { prompt: "x", retries: 0 })) });
      await host.goOn();
      expect(host.log.find(({ type }) => type === "tool.failed")).toHaveProperty("cost", most);
    });

    test("because its time was over has cost what it could have cost at most", async () => {
      const provider = scripted(() => new Promise<never>(() => undefined), { price, maxTokens: 100 });
      const host = new AgentHost({
        agent: agentOf(provider, (job) => job.llm("fast", { prompt: "x", retries: 0, timeoutMs: 1_000 })),
      });
      await host.goOn();
      await host.clock.advance(1_000);
      await host.goOn();
      expect(host.log.find(({ type }) => type === "tool.failed")).toMatchObject({
        error: { code: "E_TIMEOUT" }, cost: most,
      });
    });

    test.each([
      ["because nobody answers there", new AetherError("E_UNAVAILABLE", "nothing was sent")],
      ["because it is asked too much", busy()],
      ["because it is down", new AetherError("E_UNAVAILABLE", "503", { ...lost, details: { status: 503 } })],
    ])("%s has cost nothing", async (_why, error) => {
      const provider = scripted(() => {
        throw error;
      }, { price });
      const host = new AgentHost({ agent: agentOf(provider, (job) => job.llm("fast", { prompt: "x", retries: 0 })) });
      await host.goOn();
      expect(host.log.find(({ type }) => type === "tool.failed")).not.toHaveProperty("cost");
    });
  });

  test("of a provider that answers nonsense fails with what is wrong", async () => {
    const provider = { model: "odd", complete: () => ({ text: 1 }) } as unknown as LlmProvider;
    const host = new AgentHost({ agent: agentOf(provider, (job) => job.llm("fast", { prompt: "x", retries: 0 })) });
    await host.goOn();
    expect(host.end).toMatchObject({ kind: "failed", error: { code: "E_INVALID" } });
  });
});

describe("secrets (JOB12)", () => {
  const KEY = "sk-0123456789";
  const secrets = { "shop-key": KEY };
  const leaky = (what: "answers" | "throws" | "emits"): Agent => {
    const pay = defineTool({
      name: "pay", input: z.object({}), output: z.any(), effect: "read", secrets: [secret("shop-key")],
      execute: (_input, { secret: read }) => {
        const key = read(secret("shop-key"));
        if (what === "throws") throw Object.assign(new Error(`401 for ${key}`), { code: key });
        return { [key]: [key], url: `?key=${encodeURIComponent(key)}` };
      },
    });
    return defineAgent({
      name: "leaky", input: z.any(), output: z.any(), tools: { pay },
      run: async (job) => {
        const found: unknown = await job.tools.pay({}).catch((error: unknown) => error);
        if (what === "emits") job.emit(found);
        return await job.step("after", () => [found instanceof Error ? found.message : found, KEY]);
      },
    });
  };

  test.each(["answers", "throws", "emits"] as const)(
    "are in nothing that leaves the worker when a tool %s them, live as in replay", async (what) => {
      const host = new AgentHost({ agent: leaky(what), secrets });
      await host.goOn();
      expect(host.end).toMatchObject({ kind: "completed" });
      expect(JSON.stringify(host.heard)).not.toContain(KEY);
      expect(JSON.stringify(host.heard)).toContain("[secret shop-key]");
      const again = new AgentHost({ agent: leaky(what), log: host.log });
      await again.goOn();
      expect(again.end).toEqual(host.end);
    },
  );

  test("that a tool does not list it does not get, and it says so", async () => {
    const peek = defineTool({
      name: "peek", input: z.object({}), output: z.any(), effect: "read",
      execute: (_input, { secret: read }) => read(secret("shop-key")),
    });
    const agent = defineAgent({
      name: "peeks", input: z.any(), output: z.any(), tools: { peek }, run: (job) => job.tools.peek({}),
    });
    const host = new AgentHost({ agent, secrets });
    await host.goOn();
    expect(host.end).toMatchObject({
      kind: "failed",
      error: { code: "E_CONFIG", message: expect.stringMatching(/"shop-key", which it does not list/) as unknown },
    });
  });
});
