// Owns: `npm run sim:jobs -- --seed N [--seeds COUNT] [--restore] [--planted FAULT]`: runs of jobs, one after the
// other, until one breaks a rule. Exit code 1 for a violation.
import { readOptions } from "../../support/read-options.ts";
import { drawPlan, drawRestorePlan } from "./job-plan.ts";
import { runJobs } from "./job-run.ts";
import { JOB_FAULTS, RESTORE_FAULTS } from "./planted-jobs.ts";

const FAULTS = [...JOB_FAULTS, ...RESTORE_FAULTS];

const USAGE = `usage: npm run sim:jobs -- [options]
  --seed N          first seed (1)
  --seeds COUNT     how many seeds from there (1)
  --restore         clusters that begin anew from a backup
  --planted FAULT   ${FAULTS.join(", ")}`;

async function main(): Promise<number> {
  const values = readOptions(USAGE, {
    seed: { type: "string" }, seeds: { type: "string" }, planted: { type: "string" }, restore: { type: "boolean" },
  });
  const [first, count] = [Number(values.seed ?? 1), Number(values.seeds ?? 1)];
  const planted = FAULTS.find((fault) => fault === values.planted);
  if (!Number.isSafeInteger(first) || !(count >= 1) || planted !== values.planted) {
    console.error(USAGE);
    return 2;
  }
  for (let seed = first; seed < first + count; seed += 1) {
    const plan = values.restore === true ? drawRestorePlan(seed) : drawPlan(seed);
    const { violation, moments, virtualMs, traceHash } = await runJobs(plan, planted);
    console.log(`seed ${seed}: ${moments} transactions of owners in ${virtualMs.toFixed(0)} ms, trace ${traceHash}`);
    if (violation === undefined) continue;
    console.log(`VIOLATION of ${violation.check}: ${violation.message}\n${JSON.stringify(plan, undefined, 1)}`);
    return 1;
  }
  return 0;
}

process.exitCode = await main();
