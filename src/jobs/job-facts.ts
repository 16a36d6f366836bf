// Owns: what a node tells of jobs every second. Does not own: counting them.
import type { Clock } from "../env/clock.ts";
import { type FactName, type Facts, known } from "../metrics/core/facts.ts";
import type { WaitReason } from "./core/rows.ts";
import type { JobCensus } from "./job-census.ts";
import type { JobCounts } from "./job-counts.ts";
import type { JobClaimer } from "./ownership/claimer.ts";
import type { JobRunner } from "./running/runner.ts";

/** How many jobs wait for what. */
export const WAITING_FACTS = [
  ["timer", "jobsWaitingTimer"],
  ["signal", "jobsWaitingSignal"],
  ["approval", "jobsWaitingApproval"],
  ["retry", "jobsWaitingRetry"],
  ["child", "jobsWaitingChild"],
  ["admission", "jobsWaitingAdmission"],
  ["budget", "jobsWaitingBudget"],
  ["unknown", "jobsWaitingUnknown"],
  ["stuck", "jobsWaitingStuck"],
  ["restored", "jobsWaitingRestored"],
] as const satisfies readonly (readonly [WaitReason, FactName])[];

export interface JobFactSources {
  readonly clock: Pick<Clock, "wallMs">;
  readonly runner: Pick<JobRunner, "running">;
  readonly claimer: Pick<JobClaimer, "queued" | "oldestQueuedSinceMs">;
  readonly census: Pick<JobCensus, "waitingFor" | "oldestSinceMs">;
  readonly counts: JobCounts;
}

export function factsOfJobs({ clock, runner, claimer, census, counts }: JobFactSources): () => Facts {
  const ageMs = (sinceMs: number | undefined): number =>
    sinceMs === undefined ? 0 : Math.max(0, clock.wallMs() - sinceMs);
  return () => known({
    jobsRunning: runner.running,
    jobsRunnable: claimer.queued,
    oldestRunnableMs: ageMs(claimer.oldestQueuedSinceMs),
    ...Object.fromEntries(WAITING_FACTS.map(([reason, fact]) => [fact, census.waitingFor(reason)])),
    oldestUnknownMs: ageMs(census.oldestSinceMs("unknown")),
    oldestApprovalMs: ageMs(census.oldestSinceMs("approval")),
    jobsEndedPerSecond: counts.of("job.completed", "job.failed", "job.cancelled"),
    jobsFailedPerSecond: counts.of("job.failed"),
    stepsPerSecond: counts.of("step.completed", "step.failed"),
    toolCallsPerSecond: counts.of("tool.granted"),
    toolFailuresPerSecond: counts.of("tool.failed"),
    toolUnknownsPerSecond: counts.of("tool.unknown"),
  });
}
