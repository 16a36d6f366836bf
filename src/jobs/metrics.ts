// Owns: the metrics of this area.
import type { Counter, Gauge, Histogram, Telemetry } from "../env/telemetry.ts";

export interface JobsMetrics {
  readonly started: Counter;
  readonly transitions: Counter;
  readonly collected: Counter;
  readonly verified: Counter;
  readonly webhooks: Counter;
  readonly commitSeconds: Histogram;
  readonly rateWaitSeconds: Histogram;
  readonly spentUsd: Counter;
  readonly spentTokens: Counter;
  readonly reservedUsd: Gauge;
}

export function createJobsMetrics(telemetry: Telemetry): JobsMetrics {
  return {
    started: telemetry.counter({
      name: "aether_jobs_started_total",
      help: "Jobs that were started through this node.",
    }),
    transitions: telemetry.counter({
      name: "aether_job_transitions_total",
      help: "Transitions of jobs that this node proposed, by what became of them: applied, fenced, inbox-not-empty, " +
        "contended or corrupt.",
      labels: ["result"],
    }),
    verified: telemetry.counter({
      name: "aether_job_effects_verified_total",
      help: "Calls of tools, recorded as done, that this node has looked at after a take-over, by what it found: " +
        "agrees, differs or unknown.",
      labels: ["verdict"],
    }),
    collected: telemetry.counter({
      name: "aether_jobs_collected_total",
      help: "What this node, as the leader, took away: the log or the outcome of a job, a payload that none needs.",
      labels: ["what"],
    }),
    webhooks: telemetry.counter({
      name: "aether_job_webhooks_total",
      help: "What this node, as the leader, had to tell webhooks: told, failed (it is tried again) or given-up.",
      labels: ["webhook", "result"],
    }),
    rateWaitSeconds: telemetry.histogram({
      name: "aether_rate_limit_wait_seconds",
      help: "Time that calls of tools with a rate or a maxConcurrent have waited on this node for their turn.",
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    }),
    spentUsd: telemetry.counter({
      name: "aether_job_spent_usd_total",
      help: "US dollars that calls of tools and models have cost in jobs of this node, by agent.",
      labels: ["agent"],
    }),
    spentTokens: telemetry.counter({
      name: "aether_job_spent_tokens_total",
      help: "Tokens that models with a price, or in jobs with a budget, have taken in jobs of this node, by agent.",
      labels: ["agent"],
    }),
    reservedUsd: telemetry.gauge({
      name: "aether_job_reserved_usd",
      help: "US dollars that the budgets of jobs that run on this node have reserved, by agent.",
      labels: ["agent"],
    }),
    commitSeconds: telemetry.histogram({
      name: "aether_job_commit_duration_seconds",
      help: "Time from proposing a transition of a job to knowing what became of it.",
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    }),
  };
}
