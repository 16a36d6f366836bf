// Owns: recognizing the agents of an imported slice. Each bundle carries its own copy of the SDK and of zod, so that
// they are known by their shape. Runs inside the worker.
import { AetherError } from "../../base/errors.ts";
import { TIMEOUT_MS_MAX } from "../../sdk/call-timeouts.ts";
import { SECRETS_MAX } from "../../sdk/secret.ts";
import { costSchema, microsOf, priceSchema, type LlmPrice } from "../../sdk/budget.ts";
import type { LlmLimits } from "../../sdk/llm.ts";
import { limitsSchema } from "../../sdk/llm/terms.ts";
import { concurrentSchema, rateSchema } from "../../sdk/tool.ts";
import type { SchemaShape } from "../../slices/worker/slice-module.ts";
import type { Amount } from "../core/budget/account.ts";
import type { ModelUse } from "../core/flow/call-rates.ts";
import type { ToolRate } from "../core/flow/rate-bucket.ts";
import { MISMATCH_ACTIONS, type MismatchAction, type ModelUsage, type ToolEffect } from "../core/log/event.ts";

export interface ToolModule {
  readonly name: string;
  readonly effect: ToolEffect;
  readonly timeoutMs: number;
  readonly settleMs?: number;
  readonly rate?: ToolRate;
  /** Calls of it that the whole cluster has under way at once. */
  readonly maxConcurrent?: number;
  /** Of a model: what a request of it means to its rates. */
  readonly modelUse?: (request: unknown) => ModelUse;
  readonly input: SchemaShape;
  readonly output: SchemaShape;
  readonly execute: (input: unknown, context: unknown) => unknown;
  readonly reconcile: ((input: unknown, context: unknown) => unknown) | undefined;
  /** How it tells whether a call that is recorded as done is so outside. */
  readonly verify?: VerifierModule;
  /** What its rule says of a call with this input; absent for a tool that nobody has to allow. */
  readonly approval?: (input: unknown) => unknown;
  /** Names of the secrets that it may ask for. */
  readonly secrets: readonly string[];
  /** What an answer of it says of the tokens that it cost; of models only. */
  readonly usageOf?: (result: unknown) => ModelUsage | undefined;
  /** The most that one attempt with this input can cost; absent where it costs nothing. */
  readonly costMaxOf?: (input: unknown) => Amount;
  /** What an answer has cost. */
  readonly costOf?: (result: unknown) => Amount;
  /** What an attempt with this input that threw this may have cost; nothing when absent, or undefined. */
  readonly costOfFailure?: (input: unknown, thrown: unknown) => Amount | undefined;
}

export interface VerifierModule {
  readonly onMismatch: MismatchAction;
  readonly check: (input: unknown, result: unknown, context: unknown) => unknown;
}

export interface ModelModule {
  readonly model: string;
  readonly secrets: readonly string[];
  readonly price?: LlmPrice;
  /** The most that it says where a question does not say. */
  readonly maxTokens?: number;
  readonly limits?: LlmLimits;
  readonly complete: (request: unknown, context: unknown) => unknown;
}

export interface AgentModule {
  readonly name: string;
  readonly input: SchemaShape;
  readonly output: SchemaShape;
  /** By the name that the agent's code has for each. */
  readonly tools: ReadonlyMap<string, ToolModule>;
  /** By the name that the agent's code has for each. */
  readonly models: ReadonlyMap<string, ModelModule>;
  readonly run: (job: unknown, input: unknown) => unknown;
}

/** The agents of a slice, by name. @throws AetherError E_INVALID naming the first thing that is wrong */
export function parseAgents(slice: unknown): ReadonlyMap<string, AgentModule> {
  const agents = isObject(slice) ? (slice["agents"] ?? []) : [];
  if (!Array.isArray(agents)) throw invalid("its `agents` are no list", "list what defineAgent gave");
  const parsed = (agents as readonly unknown[]).map(parseAgent);
  return new Map(parsed.map((agent) => [agent.name, agent]));
}

function parseAgent(agent: unknown): AgentModule {
  if (!isObject(agent) || typeof agent["name"] !== "string") {
    throw invalid("one of its agents has no name", "make agents with defineAgent");
  }
  // Those of earlier versions know no models.
  const { name, input, output, tools, models = {}, run } = agent;
  const place = `its agent "${name}"`;
  if (!isSchema(input) || !isSchema(output)) throw invalid(`${place} lacks a schema`, "give it an input and an output");
  if (!isFunction(run)) throw invalid(`${place} has no run(job, input)`, "give it one");
  if (!isObject(tools)) throw invalid(`${place} has unusable tools`, "make agents with defineAgent");
  const byAlias = Object.entries(tools).map(([alias, tool]): [string, ToolModule] => [alias, parseTool(place, tool)]);
  return {
    name, input, output, tools: new Map(byAlias), models: parseModels(place, models),
    run: (job, value) => run.call(agent, job, value),
  };
}

function parseModels(place: string, models: unknown): ReadonlyMap<string, ModelModule> {
  if (!isObject(models)) throw invalid(`${place} has unusable models`, "name each: models: { fast: openAi({ … }) }");
  return new Map(Object.entries(models).map(([alias, provider]): [string, ModelModule] => {
    const what = `the model "${alias}" of ${place}`;
    if (!isObject(provider) || typeof provider["model"] !== "string" || !isFunction(provider["complete"])) {
      throw invalid(`${what} is no provider`, "give it openAi(…), or an object with model and complete(…)");
    }
    const { model, complete, maxTokens } = provider;
    const price = provider["price"] === undefined ? undefined : priceSchema.safeParse(provider["price"]).data;
    if (provider["price"] !== undefined && price === undefined) {
      throw invalid(`${what} has an unusable price`, "give inputPerMillion and outputPerMillion, in US dollars");
    }
    const limits = provider["limits"] === undefined ? undefined : limitsSchema.safeParse(provider["limits"]).data;
    if (provider["limits"] !== undefined && limits === undefined) {
      throw invalid(`${what} has unusable limits`, "give requestsPerMinute and tokensPerMinute, or one of them");
    }
    return [alias, {
      model, ...(limits !== undefined && { limits }),
      ...(price !== undefined && { price }), ...(isTokens(maxTokens) && { maxTokens }),
      secrets: parseSecrets(what, provider["secrets"]),
      complete: (request, context) => complete.call(provider, request, context),
    }];
  }));
}

function isTokens(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}

function parseSecrets(place: string, secrets: unknown): readonly string[] {
  if (secrets === undefined) return [];
  const names = Array.isArray(secrets) ? (secrets as readonly unknown[]).map(secretNameOf) : [undefined];
  if (names.length <= SECRETS_MAX && names.every((name) => name !== undefined)) return names;
  throw invalid(`the secrets of ${place} are unusable`, `list up to ${SECRETS_MAX} of what secret("…") gave`);
}

/** Undefined for what is no reference to a secret. */
export function secretNameOf(reference: unknown): string | undefined {
  if (!isObject(reference) || reference["kind"] !== "aether-secret") return undefined;
  return typeof reference["name"] === "string" ? reference["name"] : undefined;
}

function parseTool(place: string, tool: unknown): ToolModule {
  if (!isObject(tool) || typeof tool["name"] !== "string") {
    throw invalid(`a tool of ${place} has no name`, "make tools with defineTool");
  }
  const { name, effect, timeoutMs, settleMs, input, output, execute, reconcile, approval } = tool;
  if (!isSchema(input) || !isSchema(output) || !isFunction(execute)) {
    throw invalid(`the tool "${name}" of ${place} lacks a schema or execute`, "make tools with defineTool");
  }
  if (effect !== "read" && effect !== "idempotent" && effect !== "once") {
    throw invalid(`the tool "${name}" of ${place} has an unknown effect`, "use read, idempotent or once");
  }
  if (typeof timeoutMs !== "number" || !(timeoutMs >= 1 && timeoutMs <= TIMEOUT_MS_MAX)) {
    throw invalid(`the tool "${name}" of ${place} has an unusable timeoutMs`, `use 1 to ${TIMEOUT_MS_MAX} ms`);
  }
  if (settleMs !== undefined && !(typeof settleMs === "number" && settleMs >= 0 && settleMs <= TIMEOUT_MS_MAX)) {
    throw invalid(`the tool "${name}" of ${place} has an unusable settleMs`, `use 0 to ${TIMEOUT_MS_MAX} ms`);
  }
  const rate = tool["rate"] === undefined ? undefined : rateSchema.safeParse(tool["rate"]).data;
  if (tool["rate"] !== undefined && rate === undefined) {
    throw invalid(`the tool "${name}" of ${place} has an unusable rate`, "make tools with defineTool");
  }
  const maxConcurrent = tool["maxConcurrent"] === undefined
    ? undefined
    : concurrentSchema.safeParse(tool["maxConcurrent"]).data;
  if (tool["maxConcurrent"] !== undefined && maxConcurrent === undefined) {
    throw invalid(`the tool "${name}" of ${place} has an unusable maxConcurrent`, "make tools with defineTool");
  }
  const cost = tool["cost"] === undefined ? undefined : costSchema.safeParse(tool["cost"]).data;
  if (tool["cost"] !== undefined && cost === undefined) {
    throw invalid(`the tool "${name}" of ${place} has an unusable cost`, "make tools with defineTool");
  }
  return {
    name, effect, timeoutMs, input, output, ...(cost !== undefined && costsAlways(cost.usd)),
    ...(settleMs !== undefined && { settleMs }),
    ...(rate !== undefined && { rate: { name, ...rate } }),
    ...(maxConcurrent !== undefined && { maxConcurrent }),
    secrets: parseSecrets(`the tool "${name}" of ${place}`, tool["secrets"]),
    ...parseVerifier(`the tool "${name}" of ${place}`, tool["verify"]),
    ...(approval !== undefined && {
      approval: (value: unknown) => (isFunction(approval) ? approval.call(tool, value) : approval),
    }),
    execute: (value, context) => execute.call(tool, value, context),
    reconcile: isFunction(reconcile) ? (value, context) => reconcile.call(tool, value, context) : undefined,
  };
}

function costsAlways(usd: number): Pick<ToolModule, "costMaxOf" | "costOf"> {
  const cost: Amount = { usdMicros: microsOf(usd) };
  return { costMaxOf: () => cost, costOf: () => cost };
}

function parseVerifier(place: string, verify: unknown): { readonly verify?: VerifierModule } {
  if (verify === undefined) return {};
  const onMismatch = isObject(verify) ? MISMATCH_ACTIONS.find((one) => one === verify["onMismatch"]) : undefined;
  const check = isObject(verify) ? verify["check"] : undefined;
  if (onMismatch === undefined || !isFunction(check)) {
    const advice = `give it check(input, result) and onMismatch, one of ${MISMATCH_ACTIONS.join(", ")}`;
    throw invalid(`the verify of ${place} is unusable`, advice);
  }
  return { verify: { onMismatch, check: (input, result, context) => check.call(verify, input, result, context) } };
}

type Shape = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Shape {
  return typeof value === "object" && value !== null;
}

function isFunction(value: unknown): value is (this: unknown, ...args: readonly unknown[]) => unknown {
  return typeof value === "function";
}

/** Whether it is a zod schema, of whatever copy. */
export function isSchema(value: unknown): value is SchemaShape {
  return isObject(value) && isFunction(value["safeParse"]) && isFunction(value["safeParseAsync"]);
}

function invalid(found: string, advice: string): AetherError {
  return new AetherError("E_INVALID", `this bundle has agents that cannot run: ${found}; ${advice}`);
}
