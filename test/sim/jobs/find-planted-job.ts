// Owns: looking for a planted fault of jobs, seed by seed, as the faultless runs go through them.
import type { JobViolation } from "./job-checker.ts";
import { drawPlan, drawRestorePlan } from "./job-plan.ts";
import { runJobs } from "./job-run.ts";
import { RESTORE_FAULTS, type JobFault } from "./planted-jobs.ts";

/** The faultless runs of `npm test`. */
export const JOB_SEEDS = 24;
/** And those in which the cluster begins anew from a backup. */
export const RESTORE_SEEDS = 4;

export type JobFind = JobViolation & { readonly seed: number };

export async function findPlantedJob(fault: JobFault): Promise<JobFind | undefined> {
  const isOfRestore = RESTORE_FAULTS.some((one) => one === fault);
  for (let seed = 1; seed <= (isOfRestore ? RESTORE_SEEDS : JOB_SEEDS); seed += 1) {
    const { violation } = await runJobs(isOfRestore ? drawRestorePlan(seed) : drawPlan(seed), fault);
    if (violation !== undefined) return { seed, ...violation };
  }
  return undefined;
}
