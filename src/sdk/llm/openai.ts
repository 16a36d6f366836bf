// Owns: models behind the chat completions of OpenAI, which many servers speak: Ollama, LM Studio, vLLM and others.
import { AetherError } from "../../base/errors.ts";
import { countOf, fieldOf, parseJson, readText, refusalOf, textOf } from "../http/answers.ts";
import { post, type PostAnswer } from "../http/post-adapter.ts";
import type {
  LlmCompletion, LlmContext, LlmFinish, LlmMessage, LlmProvider, LlmRequest, LlmTerms, LlmUsage,
} from "../llm.ts";
import type { Secret } from "../secret.ts";
import { readSse } from "./sse.ts";
import { cutStream, endpointOf, failedStream } from "./stream-ends.ts";
import { termsOf } from "./terms.ts";
import { ToolCallPieces } from "./tool-call-pieces.ts";

export interface OpenAiOptions extends LlmTerms {
  /** Up to and with the version, for example `http://127.0.0.1:11434/v1`. Default OpenAI's own. */
  readonly baseUrl?: string;
  readonly model: string;
  /** Servers of one's own often need none. */
  readonly apiKey?: Secret;
  readonly headers?: Readonly<Record<string, string>>;
}

const BASE_URL = "https://api.openai.com/v1";

/**
 * A model behind OpenAI's chat completions.
 * @throws AetherError E_INVALID for an unusable `baseUrl`, `price` or `maxTokens`
 * @example
 * const fast = openAi({ model: "gpt-4o-mini", apiKey: secret("openai-key") });
 * const local = openAi({ baseUrl: "http://127.0.0.1:11434/v1", model: "llama3.2" });
 */
export function openAi(
  { baseUrl = BASE_URL, model, apiKey, headers = {}, ...terms }: OpenAiOptions,
): LlmProvider {
  const { url, host } = endpointOf(baseUrl, "chat/completions");
  // Its newer models know only the second; other servers know only the first.
  const maxField = host === new URL(BASE_URL).host ? "max_completion_tokens" : "max_tokens";
  const who = `the model ${model} at ${host}`;
  return {
    model,
    ...termsOf(model, terms),
    ...(apiKey === undefined ? {} : { secrets: [apiKey] }),
    complete: async (request, context) => {
      const key = apiKey === undefined ? {} : { authorization: `Bearer ${context.secret(apiKey)}` };
      const answer = await post({
        url,
        headers: { "content-type": "application/json", accept: "text/event-stream", ...headers, ...key },
        body: JSON.stringify(bodyOf(model, request, maxField)),
        signal: context.signal,
        beforeWrite: () => context.assertOwner(),
      });
      if (answer.status !== 200) throw (await refusalOf(who, answer)).error;
      const isStream = answer.header("content-type")?.startsWith("text/event-stream") === true;
      return isStream ? await readStream(who, answer, context) : readWhole(who, parseJson(await readText(answer)));
    },
  };
}

function bodyOf(model: string, request: LlmRequest, maxField: string): Readonly<Record<string, unknown>> {
  const { system, messages, tools = [], output, maxTokens, temperature } = request;
  return {
    model,
    messages: [...(system === undefined ? [] : [{ role: "system", content: system }]), ...messages.map(messageOf)],
    stream: true,
    stream_options: { include_usage: true },
    ...(tools.length === 0 ? {} : { tools: tools.map(({ name, description, input }) =>
      ({ type: "function", function: { name, description, parameters: input } })) }),
    ...(output === undefined ? {} : {
      response_format: { type: "json_schema", json_schema: { name: "answer", schema: output } },
    }),
    ...(maxTokens === undefined ? {} : { [maxField]: maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
  };
}

function messageOf(message: LlmMessage): Readonly<Record<string, unknown>> {
  if (message.role === "user") return { role: "user", content: message.text };
  if (message.role === "tool") {
    return { role: "tool", tool_call_id: message.callId, content: JSON.stringify(message.result ?? null) };
  }
  const calls = (message.toolCalls ?? []).map(({ id, name, input }) =>
    ({ id, type: "function", function: { name, arguments: JSON.stringify(input ?? {}) } }));
  return { role: "assistant", content: message.text, ...(calls.length === 0 ? {} : { tool_calls: calls }) };
}

async function readStream(who: string, answer: PostAnswer, context: LlmContext): Promise<LlmCompletion> {
  const calls = new ToolCallPieces();
  let text = "";
  let model: string | undefined;
  let usage: LlmUsage | undefined;
  let finish: LlmFinish | undefined;
  let isDone = false;
  try {
    for await (const { data } of readSse(answer.chunks)) {
      isDone = data.trim() === "[DONE]";
      if (isDone) break;
      const part = parseJson(data);
      if (fieldOf(part, "error") !== undefined) throw failedStream(who, fieldOf(part, "error"));
      model ??= textOf(part, "model") || undefined;
      usage = usageOf(part) ?? usage;
      const choice = firstOf(fieldOf(part, "choices"));
      finish = finishOf(fieldOf(choice, "finish_reason")) ?? finish;
      const delta = fieldOf(choice, "delta");
      const token = textOf(delta, "content");
      if (token !== "") context.onToken(token);
      text += token;
      addCalls(calls, fieldOf(delta, "tool_calls"));
    }
  } catch (error) {
    throw cutStream(who, { text, usage, cause: error, signal: context.signal });
  }
  if (!isDone && finish === undefined) throw cutStream(who, { text, usage, signal: context.signal });
  return completion({ text, calls, finish, model, usage });
}

function addCalls(calls: ToolCallPieces, pieces: unknown): void {
  for (const piece of Array.isArray(pieces) ? (pieces as readonly unknown[]) : []) {
    const named = fieldOf(piece, "function");
    calls.add({
      index: countOf(piece, "index"), id: textOf(piece, "id"), name: textOf(named, "name"),
      json: textOf(named, "arguments"),
    });
  }
}

/** Some servers do not stream, whatever they are asked. */
function readWhole(who: string, body: unknown): LlmCompletion {
  const choice = firstOf(fieldOf(body, "choices"));
  const message = fieldOf(choice, "message");
  if (message === undefined) {
    throw new AetherError("E_INVALID", `${who} answered what is no chat completion: check its baseUrl`, {
      outcome: "unknown",
    });
  }
  const calls = new ToolCallPieces();
  addCalls(calls, fieldOf(message, "tool_calls"));
  return completion({
    text: textOf(message, "content"), calls, finish: finishOf(fieldOf(choice, "finish_reason")),
    model: textOf(body, "model") || undefined, usage: usageOf(body),
  });
}

function completion({ text, calls, finish, model, usage }: {
  readonly text: string;
  readonly calls: ToolCallPieces;
  readonly finish: LlmFinish | undefined;
  readonly model: string | undefined;
  readonly usage: LlmUsage | undefined;
}): LlmCompletion {
  const toolCalls = calls.all();
  return {
    text,
    toolCalls,
    // Some say "stop" beside calls.
    finish: toolCalls.length > 0 && finish !== "length" ? "tools" : (finish ?? "stop"),
    ...(model === undefined ? {} : { model }),
    ...(usage === undefined ? {} : { usage }),
  };
}

function usageOf(part: unknown): LlmUsage | undefined {
  const usage = fieldOf(part, "usage");
  const inputTokens = countOf(usage, "prompt_tokens");
  const outputTokens = countOf(usage, "completion_tokens");
  return inputTokens === undefined || outputTokens === undefined ? undefined : { inputTokens, outputTokens };
}

function finishOf(reason: unknown): LlmFinish | undefined {
  switch (reason) {
    case "stop":
    case "length":
      return reason;
    case "tool_calls":
    case "function_call":
      return "tools";
    case "content_filter":
      return "filtered";
    default:
      return typeof reason === "string" ? "other" : undefined;
  }
}

function firstOf(list: unknown): unknown {
  return Array.isArray(list) ? (list as readonly unknown[])[0] : undefined;
}
