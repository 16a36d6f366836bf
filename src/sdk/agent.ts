// Owns: agents: durable programs. What one takes and answers, its tools, its code.
import type { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { labelsSchema } from "./blueprint.ts";
import { parseDuration, type Duration } from "./duration.ts";
import { checkBudget, type Budget } from "./budget.ts";
import type { Job, Tools } from "./job.ts";
import type { Models } from "./llm.ts";
import { nameSchema } from "./name.ts";
import type { AgentSchedule } from "./schedule.ts";
import type { Signal } from "./signal.ts";
import { SDK_VERSION } from "./version.ts";

export const AGENTS_MAX = 32;
export const AGENT_TOOLS_MAX = 64;
export const AGENT_SIGNALS_MAX = 64;
export const AGENT_MODELS_MAX = 16;
export const AGENT_CONCURRENCY_MAX = 10_000;

export interface AgentDefinition<
  N extends string, I extends z.ZodType, O extends z.ZodType, T extends Tools, M extends Models = Models,
> {
  readonly name: N;
  readonly input: I;
  readonly output: O;
  /** Called as `job.tools.…`. */
  readonly tools?: T;
  /** Asked as `job.llm(name, …)`. */
  readonly models?: M;
  /** What its jobs can be told, all of it: other names, and other payloads, are refused. Absent or none: anything. */
  readonly signals?: readonly Signal[];
  /** Only nodes that have all of these labels run its jobs. */
  readonly labels?: Readonly<Record<string, string>>;
  /** How many of its jobs run at once in the whole cluster, 10,000 at most. Default: any number. */
  readonly concurrency?: number;
  /**
   * Of one of its jobs, from its start on, with all that it waits for: `"2 hours"`, or milliseconds. Then the job is
   * asked to end as by a cancel, and has failed with E_TIMEOUT. Default: as long as it takes.
   */
  readonly maxDuration?: Duration;
  /** What one of its jobs may spend, with the jobs that it starts, unless whoever starts it says something else. */
  readonly budget?: Budget;
  /**
   * When jobs of it start by themselves: `{ nightly: { cron: "0 3 * * *", input: { all: true } } }`. A tick starts one
   * job in the whole cluster. At most 20.
   */
  readonly schedules?: Readonly<Record<string, AgentSchedule<z.input<I>>>>;
  /**
   * Runs from its first line whenever a node takes the job: what `job.…` calls have answered before they answer again,
   * in the same order, until the code is where it was.
   */
  run(job: Job<T, keyof M & string, z.input<I>>, input: z.output<I>): Promise<z.input<O>> | z.input<O>;
}

/** A defined agent: among `agents` of a slice, or the default export of a package of its own. */
export interface Agent<
  N extends string = string, I extends z.ZodType = z.ZodType, O extends z.ZodType = z.ZodType, T extends Tools = Tools,
  M extends Models = Models,
> extends AgentDefinition<N, I, O, T, M> {
  readonly kind: "aether-agent";
  readonly sdkVersion: string;
  readonly tools: T;
  readonly models: M;
  readonly signals: readonly Signal[];
}

/**
 * Defines an agent.
 * @throws AetherError E_INVALID for unusable names, labels, concurrency or duration, two tools or signals of one name,
 *   or too many of them.
 * @example
 * export const claims = defineAgent({
 *   name: "claims",
 *   input: z.object({ order: z.string() }),
 *   output: z.object({ paid: z.boolean() }),
 *   tools: { refund },
 *   run: async (job, { order }) => {
 *     const cents = await job.step("load", () => loadAmount(order));
 *     const answer = await job.waitFor(documents, { timeout: "7 days" });
 *     if (answer === undefined) return { paid: false };
 *     await job.tools.refund({ order, cents });
 *     return { paid: true };
 *   },
 * });
 */
export function defineAgent<
  const N extends string, I extends z.ZodType, O extends z.ZodType, T extends Tools = Record<never, never>,
  M extends Models = Record<never, never>,
>(definition: AgentDefinition<N, I, O, T, M>): Agent<N, I, O, T, M> {
  // Only a definition without tools lacks them, and then T is its default: the empty record. So with models.
  const tools = definition.tools ?? ({} as T);
  const models = definition.models ?? ({} as M);
  const { name, signals = [] } = definition;
  checkName(name);
  checkNeeds(definition);
  checkDuration(definition);
  checkBudget(`the agent "${name}"`, definition.budget);
  checkParts(name, "tools", Object.values(tools), AGENT_TOOLS_MAX);
  checkParts(name, "signals", signals, AGENT_SIGNALS_MAX);
  checkParts(name, "models", Object.keys(models).map((model) => ({ name: model })), AGENT_MODELS_MAX);
  for (const model of Object.keys(models)) checkName(model, `a model of the agent "${name}"`);
  return { ...definition, kind: "aether-agent", sdkVersion: SDK_VERSION, tools, models, signals };
}

function checkName(name: string, what = "an agent"): void {
  const checked = nameSchema.safeParse(name);
  if (checked.success) return;
  const reason = checked.error.issues[0]?.message ?? "";
  throw new AetherError("E_INVALID", `"${name}" cannot be the name of ${what}: ${reason}`);
}

function checkNeeds({ name, labels = {}, concurrency = 1 }: Pick<Agent, "name" | "labels" | "concurrency">): void {
  if (!labelsSchema.safeParse(labels).success) {
    throw new AetherError("E_INVALID", `the agent "${name}" asks for a label that no node can have`);
  }
  const isUsable = Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= AGENT_CONCURRENCY_MAX;
  if (isUsable) return;
  const range = `1 to ${AGENT_CONCURRENCY_MAX}`;
  throw new AetherError("E_INVALID", `the agent "${name}" has concurrency ${concurrency}; use ${range}`);
}

function checkDuration({ name, maxDuration }: Pick<Agent, "name" | "maxDuration">): void {
  if (maxDuration === undefined || parseDuration(maxDuration) > 0) return;
  throw new AetherError("E_INVALID", `the agent "${name}" has no time: let maxDuration be longer, or leave it out`);
}

function checkParts(agent: string, what: string, parts: readonly { readonly name: string }[], max: number): void {
  if (parts.length > max) {
    throw new AetherError("E_INVALID", `the agent "${agent}" has ${parts.length} ${what}; ${max} is the limit`);
  }
  const seen = new Set<string>();
  for (const { name } of parts) {
    if (seen.has(name)) throw new AetherError("E_INVALID", `the agent "${agent}" has two ${what} named "${name}"`);
    seen.add(name);
  }
}
