// Owns: looking for a planted fault of jobs, seed by seed, as the faultless runs go through them.
import type { JobViolation } from "./job-checker.ts";
import { drawPlan } from "./job-plan.ts";
import { runJobs } from "./job-run.ts";
import type { JobFault } from "./planted-jobs.ts";

/** The faultless runs of `npm test`. */
export const JOB_SEEDS = 24;

export type JobFind = JobViolation & { readonly seed: number };

export async function findPlantedJob(fault: JobFault, seedsMax = JOB_SEEDS): Promise<JobFind | undefined> {
  for (let seed = 1; seed <= seedsMax; seed += 1) {
    const { violation } = await runJobs(drawPlan(seed), fault);
    if (violation !== undefined) return { seed, ...violation };
  }
  return undefined;
}
