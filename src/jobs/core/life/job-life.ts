// Owns: what may follow what in the life of a job: one table for the code and for its model test.
// JOB6  A job that has ended stays as it ended.
import type { JobStatus } from "../rows.ts";

export const JOB_STEPS = [
  "start", "claim", "stick", "append", "wait", "wake", "release", "hand-back", "continue", "finish", "move",
] as const;
export type JobStep = (typeof JOB_STEPS)[number];

/** Where a step leads from each status; `none`: there is no such job. A finish leads to how the job ended. */
export type StepResult = JobStatus | "ended" | "refuse";

type Steps = Readonly<Record<JobStep, StepResult>>;

const REFUSED = {
  "start": "refuse", "claim": "refuse", "stick": "refuse", "append": "refuse", "wait": "refuse", "wake": "refuse",
  "release": "refuse", "hand-back": "refuse", "continue": "refuse", "finish": "refuse", "move": "refuse",
} as const satisfies Steps;

export const NEXT: Readonly<Record<JobStatus | "none", Steps>> = {
  none: { ...REFUSED, start: "pending" },
  pending: { ...REFUSED, claim: "running", stick: "waiting", move: "pending" },
  running: {
    ...REFUSED,
    "append": "running",
    "wait": "waiting",
    "release": "pending",
    "hand-back": "pending",
    "continue": "pending",
    "finish": "ended",
  },
  waiting: { ...REFUSED, wake: "pending", move: "pending" },
  completed: REFUSED,
  failed: REFUSED,
  cancelled: REFUSED,
};

export function hasEnded(status: JobStatus): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}
