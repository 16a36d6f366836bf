import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createDeferred } from "../../../../src/base/deferred.ts";
import { AetherError } from "../../../../src/base/errors.ts";
import type { LlmCompletion, LlmContext, LlmProvider, LlmRequest } from "../../../../src/sdk/llm.ts";
import { openAi } from "../../../../src/sdk/llm/openai.ts";
import { SSE_EVENT_CHARACTERS_MAX } from "../../../../src/sdk/llm/sse.ts";
import { secret } from "../../../../src/sdk/secret.ts";
import { openAiStream, openLlmStub, sseOf, type LlmStub } from "../../../support/llm-stub.ts";

const KEY = "sk-0123456789";
const ASKED: LlmRequest = { messages: [{ role: "user", text: "how many?" }] };

let stub: LlmStub;
let model: LlmProvider;

beforeEach(async () => {
  stub = await openLlmStub();
  model = openAi({ baseUrl: `${stub.url}/v1/`, model: "small", apiKey: secret("key") });
});
afterEach(() => stub.close());

interface Asking extends Partial<LlmContext> {
  readonly request?: LlmRequest;
}

async function ask({ request = ASKED, ...context }: Asking = {}): Promise<LlmCompletion> {
  return await model.complete(request, {
    effectId: "e", signal: new AbortController().signal, assertOwner: () => undefined, secret: () => KEY,
    onToken: () => undefined, ...context,
  });
}

test("a request names the model and the key, and its stream is put together", async () => {
  stub.answer({ body: openAiStream(["for", "ty", "-two"], { usage: [12, 3] }) });
  const tokens: string[] = [];
  const answer = await ask({
    request: { system: "be short", ...ASKED, maxTokens: 5, temperature: 0 }, onToken: (token) => tokens.push(token),
  });
  expect(answer).toEqual({
    text: "forty-two", toolCalls: [], finish: "stop", model: "stub-1", usage: { inputTokens: 12, outputTokens: 3 },
  });
  expect(tokens).toEqual(["for", "ty", "-two"]);
  const [request] = stub.requests;
  expect(request?.path).toBe("/v1/chat/completions");
  expect(request?.headers.authorization).toBe(`Bearer ${KEY}`);
  expect(request?.body).toEqual({
    model: "small", stream: true, stream_options: { include_usage: true }, max_tokens: 5, temperature: 0,
    messages: [{ role: "system", content: "be short" }, { role: "user", content: "how many?" }],
  });
});

test("tools, their results and the form of an answer go as the service wants them", async () => {
  stub.answer({ body: openAiStream(["ok"]) });
  await ask({
    request: {
      messages: [
        { role: "user", text: "a" },
        { role: "assistant", text: "", toolCalls: [{ id: "c1", name: "look-up", input: { n: 1 } }] },
        { role: "tool", callId: "c1", result: { found: true } },
      ],
      tools: [{ name: "look-up", description: "looks", input: { type: "object" } }],
      output: { type: "object" },
    },
  });
  expect(stub.requests[0]?.body).toMatchObject({
    messages: [
      { role: "user", content: "a" },
      { role: "assistant", content: "", tool_calls: [
        { id: "c1", type: "function", function: { name: "look-up", arguments: '{"n":1}' } },
      ] },
      { role: "tool", tool_call_id: "c1", content: '{"found":true}' },
    ],
    tools: [{ type: "function", function: { name: "look-up", description: "looks", parameters: { type: "object" } } }],
    response_format: { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" } } },
  });
});

test("a server that counts no tokens is left to be estimated, one that does not stream is read whole", async () => {
  stub.answer({
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ choices: [{ message: { content: "whole" }, finish_reason: "length" }] }),
  });
  expect(await ask()).toEqual({ text: "whole", toolCalls: [], finish: "length" });
});

test("what is no chat completion is said to be none", async () => {
  stub.answer({ headers: { "content-type": "text/html" }, body: "<html>" });
  await expect(ask()).rejects.toMatchObject({ code: "E_INVALID", message: expect.stringMatching(/baseUrl/) as unknown });
});

describe("a stream", () => {
  const calls = sseOf(
    { choices: [{ delta: { tool_calls: [
      { index: 0, id: "a", function: { name: "look-up", arguments: '{"city":"Zü' } },
      { index: 1, id: "b", function: { name: "pay", arguments: "" } },
    ] } }] },
    { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: 'rich"}' } }] } }] },
    { choices: [{ delta: {}, finish_reason: "tool_calls" }] },
    "[DONE]",
  );

  test.each([1, 2, 3, 7])("cut into pieces of %i bytes anywhere is the same", async (bytes) => {
    stub.answer({ body: calls, pace: { bytes, everyMs: 0 } });
    expect(await ask()).toMatchObject({
      finish: "tools",
      toolCalls: [{ id: "a", name: "look-up", input: { city: "Zürich" } }, { id: "b", name: "pay", input: {} }],
    });
  });

  test("with CR LF and comments is read as the standard says", async () => {
    const body = `: ping\r\n\r\n${openAiStream(["x"]).replaceAll("\n", "\r\n")}`;
    stub.answer({ body, pace: { bytes: 5, everyMs: 0 } });
    expect(await ask()).toMatchObject({ text: "x", finish: "stop" });
  });

  test("that is one byte every ten milliseconds ends when its caller's time is over", async () => {
    stub.answer({ body: openAiStream(["slow"]), pace: { bytes: 1, everyMs: 10 } });
    const stop = new AbortController();
    const begun = createDeferred<void>();
    const asked = ask({ signal: stop.signal, assertOwner: () => begun.resolve() });
    await begun.promise;
    stop.abort(new AetherError("E_TIMEOUT", "time is over"));
    await expect(asked).rejects.toMatchObject({ code: "E_TIMEOUT", message: "time is over" });
    await expect.poll(() => stub.left.count).toBe(1);
  });

  test("that is cut says after how much", async () => {
    const body = openAiStream(["twelve chars", "more"]);
    stub.answer({ body, cutAfter: body.indexOf("more") });
    await expect(ask()).rejects.toMatchObject({
      code: "E_UNAVAILABLE", outcome: "unknown", details: { characters: 12 },
      message: expect.stringMatching(/ended after 12 characters/) as unknown,
    });
  });

  test("that ends in good order but too early is cut too", async () => {
    stub.answer({ body: sseOf({ choices: [{ delta: { content: "half" } }] }) });
    await expect(ask()).rejects.toMatchObject({ code: "E_UNAVAILABLE", details: { characters: 4 } });
  });

  test("that says that it failed has failed", async () => {
    stub.answer({ body: sseOf({ error: { message: "out of memory" } }) });
    await expect(ask()).rejects.toMatchObject({
      code: "E_UNAVAILABLE", message: expect.stringMatching(/out of memory/) as unknown,
    });
  });

  test("with a line without end is given up at its limit", async () => {
    stub.answer({ body: `data: ${"x".repeat(SSE_EVENT_CHARACTERS_MAX + 1)}` });
    await expect(ask()).rejects.toMatchObject({ code: "E_TOO_LARGE" });
  });
});

describe("a refusal is an error that says when to come back", () => {
  const soon = { date: "Sun, 22 Nov 2026 04:00:00 GMT", "retry-after": "Sun, 22 Nov 2026 04:00:07 GMT" };
  test.each([
    ["429 with seconds", { status: 429, headers: { "retry-after": "2" } }, "E_OVERLOADED", 2_000],
    ["429 with milliseconds", { status: 429, headers: { "retry-after-ms": "40" } }, "E_OVERLOADED", 40],
    ["429 with a date", { status: 429, headers: soon }, "E_OVERLOADED", 7_000],
    ["500", { status: 500 }, "E_UNAVAILABLE", undefined],
    ["529", { status: 529 }, "E_OVERLOADED", undefined],
    ["401", { status: 401 }, "E_UNAUTHENTICATED", undefined],
    ["404", { status: 404 }, "E_NOT_FOUND", undefined],
    ["400", { status: 400 }, "E_INVALID", undefined],
    ["a redirect", { status: 307, headers: { location: "http://127.0.0.1:1/" } }, "E_INVALID", undefined],
  ])("%s", async (_what, answer, code, retryAfterMs) => {
    stub.answer({ ...answer, body: JSON.stringify({ error: { message: "not now" } }) });
    const error: unknown = await ask().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code, message: expect.stringMatching(/small at 127.*\(not now\)/) as unknown });
    expect((error as AetherError).details).toEqual({
      status: answer.status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  });
});

test("nothing is sent by a node that may not own the job any more", async () => {
  const fenced = new AetherError("E_FENCED", "elsewhere");
  await expect(ask({ assertOwner: () => {
    throw fenced;
  } })).rejects.toBe(fenced);
  expect(stub.requests).toEqual([]);
});

test("nobody there is known to have been sent nothing", async () => {
  stub.close();
  await expect(ask()).rejects.toMatchObject({ code: "E_UNAVAILABLE", outcome: "not-applied" });
});

test.each(["ftp://x", "no url", "http://user:pass@host/v1"])("the address %s is refused", (baseUrl) => {
  expect(() => openAi({ baseUrl, model: "m" })).toThrow(AetherError);
});
