// Owns: models behind the messages of Anthropic.
import { countOf, fieldOf, parseJson, refusalOf, textOf } from "../http/answers.ts";
import { post, type PostAnswer } from "../http/post-adapter.ts";
import type {
  LlmCompletion, LlmContext, LlmFinish, LlmMessage, LlmProvider, LlmRequest, LlmSchema, LlmTerms, LlmToolCall, LlmUsage,
} from "../llm.ts";
import type { Secret } from "../secret.ts";
import { readSse } from "./sse.ts";
import { ToolCallPieces } from "./tool-call-pieces.ts";
import { cutStream, endpointOf, failedStream } from "./stream-ends.ts";
import { termsOf } from "./terms.ts";

export interface AnthropicOptions extends LlmTerms {
  /** Without the version. Default Anthropic's own. */
  readonly baseUrl?: string;
  readonly model: string;
  readonly apiKey: Secret;
  readonly headers?: Readonly<Record<string, string>>;
}

const BASE_URL = "https://api.anthropic.com";
const API_VERSION = "2023-06-01";
/** The service wants to be told how much it may say. */
const MAX_TOKENS_DEFAULT = 4_096;
/** The tool by which a model answers in a form; never beside tools of an agent. */
const ANSWER_TOOL = "answer_in_this_form";

/**
 * A model of Anthropic.
 * @throws AetherError E_INVALID for an unusable `baseUrl`, `price` or `maxTokens`
 * @example
 * const careful = anthropic({ model: "claude-sonnet-4-5", apiKey: secret("anthropic-key") });
 */
export function anthropic(
  { baseUrl = BASE_URL, model, apiKey, headers = {}, ...terms }: AnthropicOptions,
): LlmProvider {
  const { url, host } = endpointOf(baseUrl, "v1/messages");
  const who = `the model ${model} at ${host}`;
  return {
    model,
    ...termsOf(model, terms),
    secrets: [apiKey],
    complete: async (request, context) => {
      const answer = await post({
        url,
        headers: {
          "content-type": "application/json", accept: "text/event-stream", "anthropic-version": API_VERSION, ...headers,
          "x-api-key": context.secret(apiKey),
        },
        body: JSON.stringify(bodyOf(model, request)),
        signal: context.signal,
        beforeWrite: () => context.assertOwner(),
      });
      if (answer.status !== 200) throw (await refusalOf(who, answer)).error;
      return await readStream(who, answer, { request, context });
    },
  };
}

function bodyOf(model: string, request: LlmRequest): Readonly<Record<string, unknown>> {
  const { system, messages, tools = [], output, maxTokens = MAX_TOKENS_DEFAULT, temperature } = request;
  return {
    model,
    max_tokens: maxTokens,
    messages: turnsOf(messages),
    stream: true,
    ...(system === undefined ? {} : { system }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(tools.length === 0 ? {} : {
      tools: tools.map(({ name, description, input }) => ({ name, description, input_schema: input })),
    }),
    ...(output === undefined ? {} : {
      tools: [{ name: ANSWER_TOOL, description: "Gives the answer.", input_schema: formOf(output) }],
      tool_choice: { type: "tool", name: ANSWER_TOOL },
    }),
  };
}

interface Turn {
  readonly role: "user" | "assistant";
  readonly content: readonly Readonly<Record<string, unknown>>[];
}

/** The service wants all that one side says in a row as one turn. */
function turnsOf(messages: readonly LlmMessage[]): readonly Turn[] {
  const turns: Turn[] = [];
  for (const message of messages) {
    const turn = turnOf(message);
    const last = turns.at(-1);
    if (last?.role === turn.role) turns[turns.length - 1] = { ...last, content: [...last.content, ...turn.content] };
    else turns.push(turn);
  }
  return turns;
}

function turnOf(message: LlmMessage): Turn {
  if (message.role === "user") return { role: "user", content: [{ type: "text", text: message.text }] };
  if (message.role === "tool") {
    const content = JSON.stringify(message.result ?? null);
    return { role: "user", content: [{ type: "tool_result", tool_use_id: message.callId, content }] };
  }
  const { text, toolCalls = [] } = message;
  const calls = toolCalls.map(({ id, name, input }) => ({ type: "tool_use", id, name, input: input ?? {} }));
  // It takes no empty texts.
  return { role: "assistant", content: [...(text === "" ? [] : [{ type: "text", text }]), ...calls] };
}

/** Inputs of tools are objects: anything else is wrapped in one. */
function formOf(output: LlmSchema): LlmSchema {
  if (output["type"] === "object") return output;
  return { type: "object", properties: { value: output }, required: ["value"] };
}

interface Reading {
  text: string;
  model: string | undefined;
  inputTokens: number | undefined;
  outputTokens: number | undefined;
  finish: LlmFinish | undefined;
  isOver: boolean;
}

async function readStream(
  who: string, answer: PostAnswer, { request, context }: { readonly request: LlmRequest; readonly context: LlmContext },
): Promise<LlmCompletion> {
  const calls = new ToolCallPieces();
  const reading: Reading = {
    text: "", model: undefined, inputTokens: undefined, outputTokens: undefined, finish: undefined, isOver: false,
  };
  const onText = (text: string): void => {
    reading.text += text;
    if (request.output === undefined && text !== "") context.onToken(text);
  };
  try {
    for await (const { data } of readSse(answer.chunks)) {
      take(reading, calls, { who, part: parseJson(data), onText });
      if (reading.isOver) break;
    }
  } catch (error) {
    throw cutStream(who, { text: reading.text, usage: usageOf(reading), cause: error, signal: context.signal });
  }
  if (!reading.isOver) throw cutStream(who, { text: reading.text, usage: usageOf(reading), signal: context.signal });
  return completionOf(reading, calls.all(), request);
}

function take(
  reading: Reading, calls: ToolCallPieces,
  { who, part, onText }: { readonly who: string; readonly part: unknown; readonly onText: (text: string) => void },
): void {
  const index = countOf(part, "index");
  switch (fieldOf(part, "type")) {
    case "message_start": {
      const message = fieldOf(part, "message");
      reading.model = textOf(message, "model") || undefined;
      reading.inputTokens = countOf(fieldOf(message, "usage"), "input_tokens");
      // For a stream that is cut: the count at its end takes the place of this one.
      reading.outputTokens = countOf(fieldOf(message, "usage"), "output_tokens");
      return;
    }
    case "content_block_start": {
      const block = fieldOf(part, "content_block");
      const isCall = fieldOf(block, "type") === "tool_use";
      if (isCall) calls.add({ index, id: textOf(block, "id"), name: textOf(block, "name"), json: "" });
      return onText(textOf(block, "text"));
    }
    case "content_block_delta": {
      const delta = fieldOf(part, "delta");
      if (fieldOf(delta, "type") === "input_json_delta") {
        return calls.add({ index, id: "", name: "", json: textOf(delta, "partial_json") });
      }
      return onText(textOf(delta, "text"));
    }
    case "message_delta":
      reading.finish = finishOf(fieldOf(fieldOf(part, "delta"), "stop_reason"));
      reading.outputTokens = countOf(fieldOf(part, "usage"), "output_tokens");
      return;
    case "message_stop":
      reading.isOver = true;
      return;
    case "error":
      throw failedStream(who, fieldOf(part, "error"));
    default:
      // Signs of life, and what later versions add.
      return;
  }
}

function completionOf(reading: Reading, toolCalls: readonly LlmToolCall[], { output }: LlmRequest): LlmCompletion {
  const { text, model, finish = "stop" } = reading;
  const usage = usageOf(reading);
  const told = { ...(model === undefined ? {} : { model }), ...(usage === undefined ? {} : { usage }) };
  if (output === undefined) return { text, toolCalls, finish, ...told };
  // What it says in a form is the input of that one tool.
  const given = toolCalls.find(({ name }) => name === ANSWER_TOOL);
  const value = output["type"] === "object" ? given?.input : fieldOf(given?.input, "value");
  return {
    text: value === undefined ? text : JSON.stringify(value), toolCalls: [],
    finish: finish === "tools" ? "stop" : finish, ...told,
  };
}

function usageOf({ inputTokens, outputTokens }: Reading): LlmUsage | undefined {
  return inputTokens === undefined || outputTokens === undefined ? undefined : { inputTokens, outputTokens };
}

function finishOf(reason: unknown): LlmFinish {
  switch (reason) {
    case "end_turn":
    case "stop_sequence":
      return "stop";
    case "max_tokens":
      return "length";
    case "tool_use":
      return "tools";
    case "refusal":
      return "filtered";
    default:
      return "other";
  }
}
