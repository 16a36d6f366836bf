// Owns: what the code of an agent may ask a model, checked, and the request that it makes.
import { AetherError } from "../../base/errors.ts";
import { TIMEOUT_MS_MAX } from "../../sdk/call-timeouts.ts";
import type { LlmMessage, LlmRequest, LlmSchema, LlmToolSpec } from "../../sdk/llm.ts";
import type { SchemaShape } from "../../slices/worker/slice-module.ts";
import { isSchema, type AgentModule, type ModelModule } from "./agent-module.ts";

export interface Question {
  /** The agent's name for the model. */
  readonly alias: string;
  readonly module: ModelModule;
  readonly request: LlmRequest;
  /** Of the inputs of the tools that the model is told of, by their names. */
  readonly tools: ReadonlyMap<string, SchemaShape>;
  readonly output: SchemaShape | undefined;
  readonly retries: number;
  readonly repairs: number;
  readonly timeoutMs: number;
  readonly key: string | undefined;
}

export const LLM_TIMEOUT_MS_DEFAULT = 120_000;
export const LLM_RETRIES_MAX = 10;
export const LLM_REPAIRS_MAX = 3;
const RETRIES_DEFAULT = 2;
const REPAIRS_DEFAULT = 1;

type Shape = Readonly<Record<string, unknown>>;

/** @throws AetherError E_INVALID */
export function readQuestion(
  agent: AgentModule, { model, call }: { readonly model: unknown; readonly call: unknown },
): Question {
  const alias = typeof model === "string" ? model : "";
  const module = agent.models.get(alias);
  if (module === undefined) {
    const names = [...agent.models.keys()].map((name) => `"${name}"`).join(", ");
    throw refused(`there is no model "${String(model)}": it has ${names === "" ? "none" : names}`);
  }
  if (!isShape(call)) throw refused(`the model "${alias}" is asked nothing: give it a prompt or messages`);
  const tools = readTools(alias, call["tools"]);
  const output = readOutput(alias, call["output"]);
  if (tools.length > 0 && output !== undefined) {
    throw refused(`the model "${alias}" is given tools and an output: ask for one of both at a time`);
  }
  const { key } = call;
  if (key !== undefined && typeof key !== "string") throw refused("the key of a call is a text");
  return {
    alias,
    module,
    request: requestOf(alias, call, { tools, output }),
    tools: new Map(tools.map(({ spec, schema }) => [spec.name, schema])),
    output: output?.schema,
    retries: readCount("retries", call["retries"], { fallback: RETRIES_DEFAULT, min: 0, max: LLM_RETRIES_MAX }),
    repairs: readCount("repairs", call["repairs"], { fallback: REPAIRS_DEFAULT, min: 0, max: LLM_REPAIRS_MAX }),
    timeoutMs: readCount("timeoutMs", call["timeoutMs"], {
      fallback: LLM_TIMEOUT_MS_DEFAULT, min: 1, max: TIMEOUT_MS_MAX,
    }),
    key,
  };
}

interface ReadTool {
  readonly spec: LlmToolSpec;
  readonly schema: SchemaShape;
}

interface ReadOutput {
  readonly json: LlmSchema;
  readonly schema: SchemaShape;
}

function requestOf(
  alias: string, call: Shape,
  { tools, output }: { readonly tools: readonly ReadTool[]; readonly output: ReadOutput | undefined },
): LlmRequest {
  const { system, temperature, maxTokens } = call;
  if (system !== undefined && typeof system !== "string") throw refused("`system` is a text");
  if (temperature !== undefined && typeof temperature !== "number") throw refused("`temperature` is a number");
  return {
    ...(system === undefined ? {} : { system }),
    messages: messagesOf(alias, call),
    ...(tools.length === 0 ? {} : { tools: tools.map(({ spec }) => spec) }),
    ...(output === undefined ? {} : { output: output.json }),
    ...(maxTokens === undefined ? {} : {
      maxTokens: readCount("maxTokens", maxTokens, { fallback: 1, min: 1, max: Number.MAX_SAFE_INTEGER }),
    }),
    ...(temperature === undefined ? {} : { temperature }),
  };
}

function messagesOf(alias: string, { prompt, messages }: Shape): readonly LlmMessage[] {
  if (typeof prompt === "string" && messages === undefined) return [{ role: "user", text: prompt }];
  if (prompt !== undefined || !Array.isArray(messages) || messages.length === 0) {
    throw refused(`the model "${alias}" gets either a prompt or a list of messages`);
  }
  return (messages as readonly unknown[]).map((message) => {
    if (isShape(message) && isMessage(message)) return message;
    throw refused(`a message to the model "${alias}" has no form that there is: user and assistant have a text, tool ` +
      "has a callId and a result");
  });
}

function isMessage(message: Shape): message is Shape & LlmMessage {
  const { role } = message;
  if (role === "tool") return typeof message["callId"] === "string";
  return (role === "user" || role === "assistant") && typeof message["text"] === "string";
}

function readTools(alias: string, tools: unknown): readonly ReadTool[] {
  if (tools === undefined) return [];
  if (!Array.isArray(tools)) throw refused(`the tools of the call of the model "${alias}" are no list`);
  return (tools as readonly unknown[]).map((tool) => {
    const { name, description, input } = isShape(tool) ? tool : {};
    if (typeof name !== "string" || !isSchema(input)) {
      throw refused(`a tool of the call of the model "${alias}" lacks a name or an input`);
    }
    const told = typeof description === "string" ? { description } : {};
    return { spec: { name, ...told, input: jsonSchemaOf(name, input) }, schema: input };
  });
}

function readOutput(alias: string, output: unknown): ReadOutput | undefined {
  if (output === undefined) return undefined;
  if (!isSchema(output)) throw refused(`the output of the call of the model "${alias}" is no schema`);
  return { json: jsonSchemaOf("output", output), schema: output };
}

/** By the schema's own copy of zod: the same for as long as the job's code is the same. */
function jsonSchemaOf(what: string, schema: SchemaShape & { readonly toJSONSchema?: unknown }): LlmSchema {
  const convert = schema.toJSONSchema;
  if (typeof convert !== "function") {
    throw refused(`the schema of "${what}" cannot be written as JSON Schema: make it with the zod of aether/slice`);
  }
  const json: unknown = convert.call(schema, { io: "input", unrepresentable: "any", cycles: "ref" });
  const { $schema: _$schema, ...rest } = isShape(json) ? json : {};
  return rest;
}

function readCount(
  what: string, value: unknown,
  { fallback, min, max }: { readonly fallback: number; readonly min: number; readonly max: number },
): number {
  if (value === undefined) return fallback;
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw refused(`\`${what}\` of a call of a model cannot be that: use a whole number from ${min} to ${max}`);
}

function isShape(value: unknown): value is Shape {
  return typeof value === "object" && value !== null;
}

function refused(reason: string): AetherError {
  return new AetherError("E_INVALID", `the code of the agent cannot go on: ${reason}`);
}
