import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parseRules } from "../../../src/control/core/parse-rules.ts";
import { ModelAdvisor } from "../../../src/control/model-advisor.ts";
import { openAdvisorModel } from "../../../src/control/advisor-model.ts";
import type { ControlContext } from "../../../src/control/core/advice.ts";
import type { LlmProvider } from "../../../src/sdk/llm.ts";
import { scripted } from "../../../src/sdk/llm/scripted.ts";
import { createRealClock } from "../../../src/node/env-clock-adapter.ts";
import { openLlmStub, type LlmStub } from "../../support/llm-stub.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { CALM } from "../../support/control-world.ts";

const KEY = "sk-very-secret-key";
const CONTEXT: ControlContext = {
  nowMs: 100_000,
  window: { series: () => undefined },
  slices: new Map([["orders", {
    blueprint: "shop", base: 2, instances: 2, active: 2, minAvailable: 1, isRollingOut: false, pinnedBy: undefined,
    change: undefined,
  }]]),
  cluster: CALM,
  events: [],
};

describe("a model that is asked for advice", () => {
  let clock: ManualClock;
  let advisor: ModelAdvisor;
  const fatal: unknown[] = [];

  function open(models: Readonly<Record<string, LlmProvider>>): void {
    clock = new ManualClock();
    advisor = new ModelAdvisor({ clock }, {
      secrets: { key: KEY }, onFatal: (error) => fatal.push(error),
      open: ({ model }) => models[model] ?? scripted([]),
    });
  }

  function ask(rules: string): Promise<void> {
    advisor.consider(CONTEXT, parseRules(rules));
    return clock.advance(50_000);
  }

  const one = "advisors: [{ provider: openai, model: small }]";

  afterEach(async () => {
    await clock.settled(advisor.close(), 10_000);
    expect(fatal).toEqual([]);
  });

  test("is told of slices, bounds and metrics, and its advice has its name", async () => {
    const asked: string[] = [];
    open({ small: scripted((request) => {
      asked.push(request.messages.map((message) => ("text" in message ? message.text : "")).join());
      return { json: { advice: [{ service: "orders", instances: 3, reason: "busy" }] } };
    }, { model: "small" }) });
    await ask(one);
    expect(JSON.parse(asked[0] ?? "")).toMatchObject({
      nodes: 3, services: [{ service: "orders", instances: 2, min: 2, max: 10, calls_per_second: null }],
    });
    expect(advisor.latest()).toEqual({
      advice: [{ slice: "orders", instances: 3, source: "model small", reason: "busy" }], undecided: [],
    });
    await clock.advance(120_000);
    expect(advisor.latest().advice).toEqual([]);
  });

  test.each([
    ["nonsense", "The number of instances is a mystery to me."],
    ["another form", '{"advice": "more"}'],
    ["no number", '{"advice": [{"service": "orders", "instances": "many"}]}'],
  ])("that answers %s gives no advice, and that is said", async (_what, text) => {
    open({ small: scripted(() => text, { model: "small" }) });
    await ask(one);
    expect(advisor.latest()).toEqual({ advice: [], undecided: [
      { slice: "*", source: "model small", reason: "its answer is not of the form that it was asked for" },
    ] });
  });

  test("that never answers is given up after its time, and the next one is asked", async () => {
    open({
      small: { model: "small", complete: () => new Promise(() => undefined) },
      large: scripted(() => '```json\n{"advice": []}\n```', { model: "large" }),
    });
    await ask("advisors: [{ provider: openai, model: small, timeout: 5s }, { provider: openai, model: large }]");
    expect(advisor.latest()).toEqual({ advice: [], undecided: [
      { slice: "*", source: "model small", reason: "it gave no answer within 5 s" },
    ] });
  });

  test("is not asked without advisors, nor twice at once, and forgets with the leadership", async () => {
    let asked = 0;
    open({ small: scripted(() => {
      asked++;
      return { json: { advice: [{ service: "orders", instances: 9 }] } };
    }, { model: "small" }) });
    await ask("rules: []");
    expect(asked).toBe(0);
    advisor.consider(CONTEXT, parseRules(one));
    await ask(one);
    expect(asked).toBe(1);
    expect(advisor.latest().advice).toHaveLength(1);
    advisor.reset();
    expect(advisor.latest().advice).toEqual([]);
  });
});

describe("a node that does not lead any more", () => {
  test.each([
    ["the question under way", "advisors: [{ provider: openai, model: small, timeout: 60s, retries: 3 }]"],
    ["its next attempts", "advisors: [{ provider: openai, model: small, timeout: 1s, retries: 3 }]"],
  ])("ends %s", async (_what, rules) => {
    const clock = new ManualClock();
    const fatal: unknown[] = [];
    const signals: AbortSignal[] = [];
    const model: LlmProvider = {
      model: "small",
      complete: (_request, { signal }) => {
        signals.push(signal);
        return new Promise(() => undefined);
      },
    };
    const advisor = new ModelAdvisor({ clock }, {
      secrets: {}, onFatal: (error) => fatal.push(error), open: () => model,
    });
    advisor.consider(CONTEXT, parseRules(rules));
    await clock.advance(500);
    advisor.reset();
    await clock.advance(20_000);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    // Whoever leads again asks anew.
    advisor.consider(CONTEXT, parseRules(rules));
    await clock.advance(500);
    expect(signals).toHaveLength(2);
    await clock.settled(advisor.close(), 10_000);
    expect(fatal).toEqual([]);
  });
});

describe("a model behind HTTP", () => {
  let stub: LlmStub;

  beforeEach(async () => {
    stub = await openLlmStub();
  });

  afterEach(() => {
    stub.close();
  });

  test("gets the key of the secret, which no reason repeats", async () => {
    stub.answer({ status: 401, body: JSON.stringify({ error: { message: `the key ${KEY} is wrong` } }) });
    const fatal: unknown[] = [];
    const advisor = new ModelAdvisor({ clock: createRealClock() }, {
      secrets: { key: KEY }, onFatal: (error) => fatal.push(error), open: openAdvisorModel,
    });
    advisor.consider(CONTEXT, parseRules(
      `advisors: [{ provider: openai, model: small, url: "${stub.url}/v1", secret: key, retries: 0 }]`,
    ));
    await vi.waitUntil(() => advisor.latest().undecided.length > 0, { timeout: 10_000 });
    expect(stub.requests[0]?.headers["authorization"]).toBe(`Bearer ${KEY}`);
    expect(JSON.stringify(advisor.latest())).not.toContain(KEY);
    await advisor.close();
    expect(fatal).toEqual([]);
  });
});
