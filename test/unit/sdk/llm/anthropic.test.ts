import { afterEach, beforeEach, expect, test } from "vitest";
import type { LlmCompletion, LlmProvider, LlmRequest } from "../../../../src/sdk/llm.ts";
import { anthropic } from "../../../../src/sdk/llm/anthropic.ts";
import { secret } from "../../../../src/sdk/secret.ts";
import { openLlmStub, sseOf, type LlmStub } from "../../../support/llm-stub.ts";

const KEY = "sk-ant-0123456789";
const ASKED: LlmRequest = { messages: [{ role: "user", text: "how many?" }] };
const BEGIN = { type: "message_start", message: { model: "stub-2", usage: { input_tokens: 11, output_tokens: 1 } } };

let stub: LlmStub;
let model: LlmProvider;

beforeEach(async () => {
  stub = await openLlmStub();
  model = anthropic({ baseUrl: stub.url, model: "small", apiKey: secret("key") });
});
afterEach(() => stub.close());

async function ask(request: LlmRequest = ASKED, tokens: string[] = []): Promise<LlmCompletion> {
  return await model.complete(request, {
    effectId: "e", signal: new AbortController().signal, assertOwner: () => undefined, secret: () => KEY,
    onToken: (token) => tokens.push(token),
  });
}

function endOf(reason: string): readonly unknown[] {
  return [
    { type: "message_delta", delta: { stop_reason: reason }, usage: { output_tokens: 7 } }, { type: "message_stop" },
  ];
}

function textStream(...texts: readonly string[]): string {
  const deltas = texts.map((text) => ({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } }));
  const block = { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } };
  const end = [{ type: "content_block_stop", index: 0 }, ...endOf("end_turn")];
  return sseOf(BEGIN, block, { type: "ping" }, ...deltas, ...end);
}

function callStream(name: string, ...pieces: readonly string[]): string {
  const use = { type: "tool_use", id: "c1", name, input: {} };
  const block = { type: "content_block_start", index: 1, content_block: use };
  const deltas = pieces.map((json) =>
    ({ type: "content_block_delta", index: 1, delta: { type: "input_json_delta", partial_json: json } }));
  return sseOf(BEGIN, block, ...deltas, ...endOf("tool_use"));
}

test("a request names the model, the version and the key, and its stream is put together", async () => {
  stub.answer({ body: textStream("forty", "-two") });
  const tokens: string[] = [];
  expect(await ask({ system: "be short", ...ASKED, temperature: 0 }, tokens)).toEqual({
    text: "forty-two", toolCalls: [], finish: "stop", model: "stub-2", usage: { inputTokens: 11, outputTokens: 7 },
  });
  expect(tokens).toEqual(["forty", "-two"]);
  const [request] = stub.requests;
  expect(request?.path).toBe("/v1/messages");
  expect(request?.headers).toMatchObject({ "x-api-key": KEY, "anthropic-version": "2023-06-01" });
  expect(request?.body).toEqual({
    model: "small", max_tokens: 4_096, stream: true, system: "be short", temperature: 0,
    messages: [{ role: "user", content: [{ type: "text", text: "how many?" }] }],
  });
});

test("what one side says in a row is one turn, and calls of tools come in pieces", async () => {
  stub.answer({ body: callStream("look-up", '{"ci', 'ty":"Zü', 'rich"}'), pace: { bytes: 3, everyMs: 0 } });
  const answer = await ask({
    messages: [
      { role: "user", text: "a" },
      { role: "assistant", text: "", toolCalls: [{ id: "c1", name: "look-up", input: {} }] },
      { role: "tool", callId: "c1", result: { found: 1 } },
      { role: "user", text: "go on" },
    ],
    tools: [{ name: "look-up", input: { type: "object" } }],
  });
  expect(answer).toMatchObject({
    finish: "tools", toolCalls: [{ id: "c1", name: "look-up", input: { city: "Zürich" } }],
  });
  expect(stub.requests[0]?.body).toMatchObject({
    tools: [{ name: "look-up", input_schema: { type: "object" } }],
    messages: [
      { role: "user" },
      { role: "assistant", content: [{ type: "tool_use", id: "c1", name: "look-up", input: {} }] },
      { role: "user", content: [
        { type: "tool_result", tool_use_id: "c1", content: '{"found":1}' }, { type: "text", text: "go on" },
      ] },
    ],
  });
});

test.each([
  ["an object", { type: "object" }, '{"cents":5}', '{"cents":5}'],
  ["anything else", { type: "integer" }, '{"value":5}', "5"],
])("an answer in the form of %s is the input of a tool that it has to use", async (_what, output, json, text) => {
  stub.answer({ body: callStream("answer_in_this_form", json) });
  const tokens: string[] = [];
  expect(await ask({ ...ASKED, output }, tokens)).toMatchObject({ text, toolCalls: [], finish: "stop" });
  expect(stub.requests[0]?.body).toMatchObject({
    tools: [{ name: "answer_in_this_form", input_schema: { type: "object" } }],
    tool_choice: { type: "tool", name: "answer_in_this_form" },
  });
});

test("a stream that is cut says what it has cost so far, one that fails says so", async () => {
  const body = textStream("twelve chars");
  stub.answer({ body, cutAfter: body.indexOf('{"type":"message_delta"') });
  await expect(ask()).rejects.toMatchObject({ code: "E_UNAVAILABLE", details: { characters: 12, inputTokens: 11 } });
  stub.answer({ body: sseOf(BEGIN, { type: "error", error: { type: "overloaded_error", message: "Overloaded" } }) });
  await expect(ask()).rejects.toMatchObject({ code: "E_OVERLOADED" });
});

test.each([[429, "E_OVERLOADED"], [529, "E_OVERLOADED"], [500, "E_UNAVAILABLE"], [401, "E_UNAUTHENTICATED"]])(
  "%i is %s", async (status, code) => {
    const error = { type: "error", error: { type: "x", message: "no" } };
    stub.answer({ status, headers: { "retry-after": "3" }, body: JSON.stringify(error) });
    await expect(ask()).rejects.toMatchObject({ code, details: { status, retryAfterMs: 3_000 } });
  },
);
