// Owns: `npm run sim:mutants`: the table of planted faults for docs/RELIABILITY.md: which check finds each, after how
// many seeds and seconds. Exit code 1 when one is not found.
import { readOptions } from "../support/read-options.ts";
import { findPlanted } from "./find-planted.ts";
import { findPlantedJob } from "./jobs/find-planted-job.ts";
import { JOB_FAULT_TEXTS, JOB_FAULTS, RESTORE_FAULTS } from "./jobs/planted-jobs.ts";
import { ALL_PLANTED, FAULT_TEXTS } from "./planted.ts";

const MS = 1_000;

const USAGE = "usage: npm run sim:mutants    prints the table as it goes; some minutes";

async function main(): Promise<number> {
  readOptions(USAGE, {});
  let missed = 0;
  console.log("| planted fault | found by | seeds | seconds |\n|---|---|---|---|");
  for (const planted of ALL_PLANTED) {
    const startedMs = performance.now();
    const find = await findPlanted(planted);
    const seconds = ((performance.now() - startedMs) / MS).toFixed(1);
    if (find === undefined) missed += 1;
    console.log(
      `| ${planted}: ${FAULT_TEXTS[planted]} | ${find?.check ?? "nothing"} | ${find?.seed ?? "-"} | ${seconds} |`,
    );
  }
  for (const planted of [...JOB_FAULTS, ...RESTORE_FAULTS]) {
    const startedMs = performance.now();
    const find = await findPlantedJob(planted);
    const seconds = ((performance.now() - startedMs) / MS).toFixed(1);
    if (find === undefined) missed += 1;
    const [check, seed] = [find?.check ?? "nothing", find?.seed ?? "-"];
    console.log(`| ${planted}: ${JOB_FAULT_TEXTS[planted]} | ${check} | ${seed} | ${seconds} |`);
  }
  return missed === 0 ? 0 : 1;
}

process.exitCode = await main();
