// Owns: what the manifest says about the agents of a slice. As describe-slice.ts, it only duck-types.
import { z } from "zod";
import { AGENT_CONCURRENCY_MAX } from "../../sdk/agent.ts";
import { labelsSchema } from "../../sdk/blueprint.ts";
import { budgetSchema } from "../../sdk/budget.ts";
import { TIMEOUT_MS_MAX } from "../../sdk/call-timeouts.ts";
import { parseDuration } from "../../sdk/duration.ts";
import { nameSchema } from "../../sdk/name.ts";
import { agentScheduleSchema } from "../../sdk/schedule.ts";
import type { JsonSchema, ManifestAgent, ManifestTool } from "../core/manifest.ts";
import { callable, toJsonSchema, zodType } from "./json-schema.ts";

const toolSchema = z.object({
  kind: z.literal("aether-tool", { error: "not made by `defineTool`" }),
  name: nameSchema,
  input: zodType,
  output: zodType,
  effect: z.enum(["read", "idempotent", "once"]),
  timeoutMs: z.int().min(1).max(TIMEOUT_MS_MAX),
  execute: callable,
  reconcile: callable.optional(),
});

export const agentSchema = z.object({
  kind: z.literal("aether-agent", { error: "not made by `defineAgent`" }),
  name: nameSchema,
  input: zodType,
  output: zodType,
  tools: z.record(z.string(), toolSchema),
  signals: z.array(z.object({
    kind: z.literal("aether-signal", { error: "not made by `defineSignal`" }),
    name: nameSchema,
    payload: zodType,
  })),
  labels: labelsSchema.optional(),
  concurrency: z.int().min(1).max(AGENT_CONCURRENCY_MAX).optional(),
  maxDuration: z.union([z.string(), z.number()]).optional(),
  schedules: z.record(nameSchema, agentScheduleSchema).default({}),
  budget: budgetSchema.optional(),
  run: callable,
});

type AgentShape = z.output<typeof agentSchema>;

/** By name; undefined when there are none. */
export function describeAgents(
  agents: readonly AgentShape[],
): Readonly<Record<string, ManifestAgent>> | undefined {
  if (agents.length === 0) return undefined;
  return Object.fromEntries(agents.map((agent) => [agent.name, describeAgent(agent)]));
}

function describeAgent(agent: AgentShape): ManifestAgent {
  const { input, output, tools, signals, labels, concurrency, maxDuration, schedules, budget } = agent;
  return {
    input: toJsonSchema(input, "input"),
    output: toJsonSchema(output, "output"),
    tools: Object.fromEntries(Object.values(tools).map((tool): [string, ManifestTool] => [tool.name, {
      effect: tool.effect, timeoutMs: tool.timeoutMs, hasReconcile: tool.reconcile !== undefined,
    }])),
    signals: Object.fromEntries(signals.map(({ name, payload }): [string, JsonSchema] =>
      [name, toJsonSchema(payload, "input")])),
    ...(labels === undefined ? {} : { labels }),
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(maxDuration === undefined ? {} : { maxDurationMs: parseDuration(maxDuration) }),
    ...(Object.keys(schedules).length === 0 ? {} : { schedules }),
    ...(budget === undefined ? {} : { budget }),
  };
}
