import { describe, expect, test } from "vitest";
import { findPlantedJob } from "./find-planted-job.ts";
import { JOB_FAULTS, RESTORE_FAULTS } from "./planted-jobs.ts";

describe("a planted fault of jobs is found within the budget of the faultless runs:", () => {
  test.each([...JOB_FAULTS, ...RESTORE_FAULTS])("%s", async (planted) => {
    const find = await findPlantedJob(planted);
    console.log(`${planted}: found by ${find?.check ?? "nothing"} at seed ${find?.seed ?? "-"}`);
    expect(find).toBeDefined();
  });
});
