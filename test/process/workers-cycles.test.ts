// Instances that come and go leave nothing behind: no thread, no handle, no memory.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { KiB } from "../../src/base/units.ts";
import { ALLOCATOR_VARIABLES } from "../../src/cli/node-process.ts";
import type { CycleReport } from "./support/slice-cycles.ts";

const PROGRAM = fileURLToPath(new URL("./support/slice-cycles.ts", import.meta.url));
/** By hand it runs 1,000 and more; these are enough to see what is left after each. */
const CYCLES = 150;
/** One instance that stays holds far more. What the engine learns of a young process is a few hundred bytes. */
const LEFT_BYTES_MAX = 4 * KiB;

test("loading and unloading an instance again and again leaves nothing in its process", async () => {
  const args = ["--expose-gc", "--import", "tsx", PROGRAM, String(CYCLES)];
  const env = { ...process.env, ...ALLOCATOR_VARIABLES };
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 1_024 * KiB, env });
  const report = JSON.parse(stdout) as CycleReport;
  const { liveWorkers, hosted, resourcesBefore, resourcesAfter, heapBytesPerCycle } = report;
  expect({ liveWorkers, hosted }).toEqual({ liveWorkers: 0, hosted: 0 });
  expect(resourcesAfter).toEqual(resourcesBefore);
  expect(heapBytesPerCycle, JSON.stringify(report.samples)).toBeLessThan(LEFT_BYTES_MAX);
}, 170_000);
