// Owns: what a model is told of the cluster, and reading what it answers. Its answer is advice like any other: it is
// checked for its form here, and bounds decide what may be done of it.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { MINUTE_MS } from "../../base/units.ts";
import type { Advice, ControlContext } from "./advice.ts";
import { rangeOf } from "./bounds.ts";
import { Evaluation } from "./evaluate.ts";
import type { MetricName } from "./metric-window.ts";
import { boundsOf, type RuleSet } from "./rules.ts";

/** Slices that a model is told of: more it cannot weigh, and each costs tokens. */
export const SLICES_TOLD_MAX = 50;
/** Of an answer. */
export const ADVICE_MAX = 50;
const TEXT_CHARS_MAX = 100_000;

const METRICS_TOLD: readonly MetricName[] = [
  "calls_per_second", "error_rate", "latency_p95_ms", "queued", "in_flight", "event_loop",
];

export const SYSTEM_TEXT = `You advise how many instances each service of a cluster should run.
You get JSON: per service its instances now, the fewest and the most that are allowed, and its metrics of the last
minute (null: not known). Answer with JSON: {"advice": [{"service": NAME, "instances": NUMBER, "reason": TEXT}]}.
Leave a service out when nothing needs to change. Change by few instances at a time. Do not guess without metrics.`;

const answerSchema = z.object({
  advice: z.array(z.object({
    service: z.string().min(1).max(100),
    instances: z.number(),
    reason: z.string().max(2_000).default(""),
  })).max(ADVICE_MAX),
});

/** The same as JSON Schema, for services that keep a model to it. */
export const ANSWER_SCHEMA: Readonly<Record<string, unknown>> = z.toJSONSchema(answerSchema, { io: "input" });

export function questionOf(context: ControlContext, rules: RuleSet): string {
  const { nowMs, window, slices, cluster, events } = context;
  const evaluation = new Evaluation({ nowMs, window, slices, nodes: cluster.nodes });
  const told = [...slices].filter(([, { base }]) => base > 0).slice(0, SLICES_TOLD_MAX);
  const services = told.map(([service, facts]) => {
    const metrics = METRICS_TOLD.map((metric) => {
      const value = evaluation.valueOf(
        { kind: "aggregate", aggregate: "avg", metric, slice: undefined, windowMs: MINUTE_MS }, service,
      );
      return [metric, typeof value === "number" ? Math.round(value * 1_000) / 1_000 : null] as const;
    });
    const { instances, active } = facts;
    return { service, instances, active, ...rangeOf(facts, boundsOf(rules, service)), ...Object.fromEntries(metrics) };
  });
  return JSON.stringify({ nodes: cluster.nodes, services, lately: events.map(({ text }) => text) });
}

/** @throws AetherError E_INVALID for what is not of the form that was asked for */
export function readAdvice(text: string, source: string): readonly Advice[] {
  const parsed = answerSchema.safeParse(jsonOf(text));
  if (!parsed.success) throw new AetherError("E_INVALID", "its answer is not of the form that it was asked for");
  return parsed.data.advice.map(({ service, instances, reason }) =>
    ({ slice: service, instances, source, reason: reason === "" ? "it gave no reason" : reason }));
}

/** Many models put a fence around their JSON. */
function jsonOf(text: string): unknown {
  const [, fenced] = /^\s*```(?:json)?\s*([\s\S]*?)```\s*$/.exec(text.slice(0, TEXT_CHARS_MAX)) ?? [];
  try {
    return JSON.parse(fenced ?? text.slice(0, TEXT_CHARS_MAX));
  } catch {
    // ignored: what is no JSON has not the form either, which is what is said
    return undefined;
  }
}
