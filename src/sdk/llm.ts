// Owns: what a language model is asked and answers, and the one interface that each provider of models has. Types only:
// providers are in llm/, the calls of an agent in jobs/worker.
import type { z } from "zod";
import type { LlmPrice } from "./budget.ts";
import type { Secret } from "./secret.ts";
import type { Tool } from "./tool.ts";

/** A call of a tool that a model asks for. */
export interface LlmToolCall {
  /** The model's name for it: its result goes back under this id. */
  readonly id: string;
  readonly name: string;
  readonly input: unknown;
}

export type LlmMessage =
  | { readonly role: "user"; readonly text: string }
  | { readonly role: "assistant"; readonly text: string; readonly toolCalls?: readonly LlmToolCall[] }
  | { readonly role: "tool"; readonly callId: string; readonly result: unknown };

/** JSON Schema (draft 2020-12). */
export type LlmSchema = Readonly<Record<string, unknown>>;

/** A tool that the model may ask for. */
export interface LlmToolSpec {
  readonly name: string;
  readonly description?: string;
  readonly input: LlmSchema;
}

/** What a provider is asked: plain data, as the job's log has it. */
export interface LlmRequest {
  readonly system?: string;
  readonly messages: readonly LlmMessage[];
  readonly tools?: readonly LlmToolSpec[];
  /** The text of the answer is to be JSON of this form. Never beside `tools`. */
  readonly output?: LlmSchema;
  readonly maxTokens?: number;
  readonly temperature?: number;
}

/** `tools`: it waits for the results of `toolCalls`. `length`: it was cut at the most that it may say. */
export type LlmFinish = "stop" | "length" | "tools" | "filtered" | "other";

export interface LlmUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** The provider did not say, so that it was taken from the length of the texts. */
  readonly isEstimated?: boolean;
}

/** What a provider answers. */
export interface LlmCompletion {
  readonly text: string;
  readonly toolCalls?: readonly LlmToolCall[];
  readonly finish: LlmFinish;
  /** As the provider names the model that answered; the model's own name when absent. */
  readonly model?: string;
  /** Estimated when absent. */
  readonly usage?: LlmUsage;
}

/** What a provider gets beside the request. */
export interface LlmContext {
  /** The same for every attempt at this call of this job. */
  readonly effectId: string;
  /** Aborts when the time of the call is over, or the job goes on elsewhere. */
  readonly signal: AbortSignal;
  /** Call it right before the request leaves. @throws AetherError E_FENCED */
  assertOwner(): void;
  /** The value of a secret that the provider lists. @throws AetherError E_CONFIG */
  secret(reference: Secret): string;
  /** Tells whoever watches the job a piece of the text. Not stored. */
  onToken(text: string): void;
}

/** What the whole cluster asks of a model, at most. */
export interface LlmLimits {
  readonly requestsPerMinute?: number;
  /** Of what it is asked and says: estimated before a request, and settled by what it took. */
  readonly tokensPerMinute?: number;
  /** Requests that are under way at once: what a model of one's own can work on side by side. */
  readonly maxConcurrent?: number;
}

/** What is to be known of a model for budgets and rates. */
export interface LlmTerms {
  /** For all that ask a model of this name; `jobs.models` of a node's configuration goes before it. */
  readonly limits?: LlmLimits;
  /** Without it its calls cost no money, as far as a job's budget is concerned. */
  readonly price?: LlmPrice;
  /** The most that it may say where a question does not say; 4,096 where a job's budget has to suffice for it. */
  readonly maxTokens?: number;
}

/**
 * A model somewhere. One request per `complete`, and no retry of its own: what fails is an error with a code, and
 * trying again is the agent's matter, where everybody sees it. As far as a budget goes a failure may be charged, unless
 * it is an AetherError whose outcome is `not-applied`, or that has the `status` of a refusal in its details.
 */
export interface LlmProvider extends LlmTerms {
  readonly model: string;
  /** What `secret` of the context may be asked for. */
  readonly secrets?: readonly Secret[];
  complete(request: LlmRequest, context: LlmContext): Promise<LlmCompletion> | LlmCompletion;
}

/** The models of an agent, by the name it uses for each. */
export type Models = Readonly<Record<string, LlmProvider>>;

/** What a model is told of a tool; what `defineTool` gives will do. */
export interface LlmTool<N extends string = string, I extends z.ZodType = z.ZodType> {
  readonly name: N;
  readonly description?: string;
  readonly input: I;
}

/** One question of an agent to one of its models. */
export interface LlmCall<S extends z.ZodType = z.ZodType, T extends readonly LlmTool[] = readonly LlmTool[]> {
  readonly system?: string;
  /** Either this, or `messages`. */
  readonly prompt?: string;
  readonly messages?: readonly LlmMessage[];
  /** Tools that the model may ask for. It is the agent's code that calls them, or not. */
  readonly tools?: T;
  /** The form of the answer, as JSON. Without `tools`. */
  readonly output?: S;
  readonly maxTokens?: number;
  readonly temperature?: number;
  /** How often a request that was refused for now, or got lost, is made again. Default 2, at most 10. */
  readonly retries?: number;
  /** How often a model is told that its answer is not of the form that was asked for. Default 1, at most 3. */
  readonly repairs?: number;
  /** How long one request may take. Default 120,000 ms, an hour at most. */
  readonly timeoutMs?: number;
  /** Tells calls of one model apart that run at the same time. */
  readonly key?: string;
}

/** Calls of the tools that the model was told of, each with an input that its schema allows. */
export type LlmToolCallOf<T extends readonly LlmTool[]> = T[number] extends infer One
  ? One extends LlmTool<infer N, infer I> | Tool<infer N, infer I>
    ? { readonly id: string; readonly name: N; readonly input: z.input<I> }
    : never
  : never;

export interface LlmAnswer<S extends z.ZodType | undefined, T extends readonly LlmTool[]> {
  readonly text: string;
  /** What `output` made of the text; undefined without it. */
  readonly output: S extends z.ZodType ? z.output<S> : undefined;
  readonly toolCalls: readonly LlmToolCallOf<T>[];
  readonly finish: LlmFinish;
  readonly model: string;
  /** Of the last request; repairs and retries are calls of their own. */
  readonly usage: LlmUsage;
  /** The answer as a message, to go on from here: `[...messages, answer.message, …]`. */
  readonly message: LlmMessage;
}

/** How an agent asks its models. */
export type LlmCalls<M extends string> = <
  S extends z.ZodType | undefined = undefined, const T extends readonly LlmTool[] = readonly [],
>(model: M, call: Omit<LlmCall, "output" | "tools"> & { readonly output?: S; readonly tools?: T }) =>
  Promise<LlmAnswer<S, T>>;
