import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../../../src/base/errors.ts";
import type { CallName } from "../../../../src/jobs/core/ids.ts";
import { defineAgent } from "../../../../src/sdk/agent.ts";
import { httpTool } from "../../../../src/sdk/http/http-tool.ts";
import { secret } from "../../../../src/sdk/secret.ts";
import { AgentHost } from "../../../support/agent-host.ts";
import { openLlmStub, type LlmStub, type StubAnswer } from "../../../support/llm-stub.ts";

const KEY = "key-of-the-shop";
const CALL = "ship#1" as CallName;

let stub: LlmStub;

beforeEach(async () => {
  stub = await openLlmStub();
});
afterEach(() => stub.close());

function hostOf(timeoutMs = 5_000): AgentHost {
  const ship = httpTool({
    name: "ship", url: `${stub.url}/orders?x=1`, effect: "once", bearer: secret("shop-key"), timeoutMs,
    input: z.object({ order: z.string() }), output: z.object({ parcel: z.string() }),
    reconcile: { url: `${stub.url}/find` },
  });
  const agent = defineAgent({
    name: "shipper", input: z.any(), output: z.any(), tools: { ship }, run: (job) => job.tools.ship({ order: "o-1" }),
  });
  return new AgentHost({ agent, secrets: { "shop-key": KEY } });
}

/** Runs until the call has an outcome, or nobody knows it. */
async function run(host: AgentHost): Promise<void> {
  await expect.poll(async () => {
    await host.goOn();
    return host.isEnded || host.unknown.size > 0;
  }).toBe(true);
}

async function outcomeOf(...answers: readonly StubAnswer[]): Promise<AgentHost> {
  stub.answer(...answers);
  const host = hostOf();
  await run(host);
  return host;
}

describe("a tool that is a service", () => {
  test("is one POST with the effect id as idempotency key, and its answer is recorded", async () => {
    const host = await outcomeOf({ body: '{"parcel":"p-1"}' });
    expect(host.end).toEqual({ kind: "completed", output: { parcel: "p-1" } });
    const [granted] = host.log;
    const effectId = granted?.type === "tool.granted" ? granted.effectId : "";
    expect(stub.requests).toHaveLength(1);
    expect(stub.requests[0]).toMatchObject({
      path: "/orders?x=1",
      headers: { "idempotency-key": effectId, authorization: `Bearer ${KEY}`, "content-type": "application/json" },
      body: { v: 1, tool: "ship", effectId, input: { order: "o-1" } },
    });
  });

  test.each([
    ["that nothing has happened, by its word", { status: 409, body: '{"status":"not-done","reason":"sold out"}' }],
  ])("says %s", async (_what, answer) => {
    const host = await outcomeOf(answer);
    expect(host.end).toMatchObject({ kind: "failed", error: { name: "NotDone", message: "sold out" } });
    expect(host.log.map(({ type }) => type)).toEqual(["tool.granted", "tool.failed"]);
  });

  test.each<readonly [string, StubAnswer]>([
    ["500", { status: 500 }],
    ["429", { status: 429 }],
    ["a redirect, which is not followed", { status: 307, headers: { location: "/elsewhere" } }],
    ["what is no JSON", { body: "<html>" }],
    ["half of what it has to say", { body: '{"parcel":"p-1"}', cutAfter: 5 }],
  ])("that answers %s leaves a call of effect once in doubt", async (_what, answer) => {
    const host = await outcomeOf(answer);
    expect(host.end).toBeUndefined();
    expect([...host.unknown]).toEqual([CALL]);
    expect(stub.requests).toHaveLength(1);
  });

  test("that is not there has done nothing", async () => {
    const host = hostOf();
    stub.close();
    await run(host);
    expect(host.end).toMatchObject({
      kind: "failed", error: { name: "NotDone", message: expect.stringMatching(/nothing was sent/) as unknown },
    });
  });

  test("gets nothing from a node that loses the job while it connects", async () => {
    stub.answer({ body: '{"parcel":"p-1"}' });
    const host = hostOf();
    await host.clock.settle();
    host.commit();
    // Granted and dispatched; the connection is not there yet.
    host.mayAct = false;
    await run(host);
    expect(host.end).toMatchObject({ kind: "failed", error: { name: "NotDone" } });
    expect(stub.requests).toEqual([]);
  });

  test("is asked what became of a call, by the same envelope", async () => {
    stub.answer({ body: '{"status":"done","result":{"parcel":"p-7"}}' });
    const host = hostOf();
    host.reconcile(CALL, "ship", { order: "o-1" });
    await expect.poll(() => host.answers).toEqual([{ kind: "done", result: { parcel: "p-7" } }]);
    expect(stub.requests[0]).toMatchObject({ path: "/find", body: { v: 1, tool: "ship", input: { order: "o-1" } } });
    stub.answer({ status: 404 });
    host.reconcile(CALL, "ship", { order: "o-1" });
    await expect.poll(() => host.answers[1]).toMatchObject({ kind: "unknown" });
  });

  test.each(["ftp://x/", "shop", "https://me:pass@shop/"])("is not defined with the address %s", (url) => {
    const options = { name: "x", input: z.string(), output: z.string(), effect: "read" } as const;
    expect(() => httpTool({ ...options, url })).toThrow(AetherError);
    expect(() => httpTool({ ...options, effect: "once", url: "http://x/", reconcile: { url } })).toThrow(AetherError);
  });
});
