// Owns: a model as the tool of effect `read` that a request to it is, and what its answer looks like in the log.
import { AetherError } from "../../base/errors.ts";
import type { LlmFinish, LlmRequest, LlmToolCall, LlmUsage } from "../../sdk/llm.ts";
import type { SchemaShape } from "../../slices/worker/slice-module.ts";
import type { Amount } from "../core/budget/account.ts";
import { costOfTokens, costMaxOfRequest } from "./call-cost.ts";
import type { ModelUsage } from "../core/log/event.ts";
import type { ModelModule, ToolModule } from "./agent-module.ts";

/** What the log has of an answer. */
export interface Completion {
  readonly text: string;
  readonly toolCalls: readonly LlmToolCall[];
  readonly finish: LlmFinish;
  readonly model: string;
  readonly usage: LlmUsage;
}

/** What a model may say at most where neither its definition nor the question says, and a budget has to suffice. */
export const LLM_TOKENS_DEFAULT = 4_096;
/** What a provider says beyond it is not believed: no model has a context of that size. */
const ANSWER_TOKENS_MAX = 1_000_000_000;
/** It is part of a key. */
const MODEL_NAME_LENGTH_MAX = 200;
/** No name of a tool has a point in it. */
const TOOL_PREFIX = "llm.";
const FINISHES: readonly string[] = ["stop", "length", "tools", "filtered", "other"] satisfies readonly LlmFinish[];
/** Of whoever stands between: the model may have answered them. */
const LOST_STATUSES: readonly number[] = [408, 502, 504];
/** About what a token is in English text, where a provider does not count. */
const CHARACTERS_PER_TOKEN = 4;

/** Requests are made here, and answers checked by `completionOf`. */
const ANY: SchemaShape = {
  safeParse: (data) => ({ success: true, data }),
  safeParseAsync: (data) => Promise.resolve({ success: true, data }),
};

export interface ModelToolOptions {
  readonly timeoutMs: number;
  /** The job's budget limits money or tokens: the model is told how much it may say, since that is reserved. */
  readonly isLimited: boolean;
}

export function modelTool(alias: string, module: ModelModule, { timeoutMs, isLimited }: ModelToolOptions): ToolModule {
  const { price } = module;
  const spent = (result: unknown): Amount => costOfTokens(price, completionIn(result).usage);
  const costMaxOf = (input: unknown): Amount =>
    costMaxOfRequest(price, cappedIf(true, module, input as LlmRequest));
  return {
    name: `${TOOL_PREFIX}${alias}`,
    effect: "read",
    timeoutMs,
    input: ANY,
    output: ANY,
    secrets: module.secrets,
    reconcile: undefined,
    execute: async (input, context) => {
      const request = input as LlmRequest;
      return completionOf(module, request, await module.complete(cappedIf(isLimited, module, request), context));
    },
    modelUse: (input) => ({
      name: module.model.slice(0, MODEL_NAME_LENGTH_MAX), ...(module.limits !== undefined && { limits: module.limits }),
      tokens: costMaxOfRequest(undefined, cappedIf(true, module, input as LlmRequest)).tokens ?? 0,
    }),
    costMaxOf,
    ...((isLimited || price !== undefined) && {
      costOf: spent,
      costOfFailure: (input: unknown, thrown: unknown) => (isRefusal(thrown) ? undefined : costMaxOf(input)),
    }),
    usageOf: (result) => {
      const { model, usage } = completionIn(result);
      return { model, ...usage };
    },
  };
}

/** It was not asked, or it said no. Of anything else nobody knows what the provider charges. */
function isRefusal(thrown: unknown): boolean {
  const { outcome, details } = fieldsOf(thrown);
  const { status } = fieldsOf(details);
  return outcome === "not-applied" || (typeof status === "number" && !LOST_STATUSES.includes(status));
}

/** The log has what the code asked for. */
function cappedIf(isCapped: boolean, { maxTokens }: ModelModule, request: LlmRequest): LlmRequest {
  const cap = isCapped ? (maxTokens ?? LLM_TOKENS_DEFAULT) : maxTokens;
  return request.maxTokens !== undefined || cap === undefined ? request : { ...request, maxTokens: cap };
}

/** Of our own making, see `completionOf`. */
export function completionIn(result: unknown): Completion {
  return result as Completion;
}

/** Providers may be anybody's. @throws AetherError E_INVALID */
function completionOf(module: ModelModule, request: LlmRequest, answer: unknown): Completion {
  const { text, toolCalls = [], finish, model, usage } = fieldsOf(answer);
  if (typeof text !== "string" || !Array.isArray(toolCalls) || !(toolCalls as readonly unknown[]).every(isToolCall)) {
    throw new AetherError("E_INVALID", `the provider of the model ${module.model} answered no completion: let it ` +
      "give text, finish and toolCalls of id, name and input", { outcome: "unknown" });
  }
  const calls: readonly LlmToolCall[] = toolCalls;
  return {
    text,
    toolCalls: calls.map(({ id, name, input }) => ({ id, name, input })),
    finish: typeof finish === "string" && FINISHES.includes(finish) ? (finish as LlmFinish) : "other",
    model: typeof model === "string" ? model : module.model,
    usage: isUsage(usage) ? usage : estimate(request, { text, calls }),
  };
}

function estimate(
  request: LlmRequest, { text, calls }: { readonly text: string; readonly calls: readonly LlmToolCall[] },
): LlmUsage {
  const said = text.length + (calls.length === 0 ? 0 : JSON.stringify(calls).length);
  return {
    inputTokens: Math.ceil(JSON.stringify(request).length / CHARACTERS_PER_TOKEN),
    outputTokens: Math.ceil(said / CHARACTERS_PER_TOKEN),
    isEstimated: true,
  };
}

function isToolCall(call: unknown): call is LlmToolCall {
  const { id, name } = fieldsOf(call);
  return typeof id === "string" && typeof name === "string";
}

function isUsage(usage: unknown): usage is LlmUsage & ModelUsage {
  const { inputTokens, outputTokens } = fieldsOf(usage);
  return isCount(inputTokens) && isCount(outputTokens);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= ANSWER_TOKENS_MAX;
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
