// What runs by itself, as people look at it on the command line.
import { expect, onTestFinished, test } from "vitest";
import { runCli } from "../../../src/cli/program.ts";
import { openApi } from "../api/api-fixture.ts";

test("schedules of slices and agents are listed with the last tick and the last job", async () => {
  const api = await openApi();
  onTestFinished(() => api.close());
  const out: string[] = [];
  const exitCode = await runCli(["schedule", "list", "--api", api.url], {
    env: {}, cwd: "/", print: (text) => out.push(text), report: (text) => out.push(text),
    readInput: () => Promise.resolve(""), nowMs: () => 0, wallMs: () => 0, sleep: () => Promise.resolve(),
    onInterrupt: () => () => undefined, exitNow: () => undefined,
  });
  expect(exitCode).toBe(0);
  expect(out[0]?.split("\n").map((line) => line.trim().split(/\s{2,}/))).toEqual([
    ["SCHEDULE", "WHEN", "RUNS", "LAST TICK", "STATE", "LAST JOB", "ERROR"],
    ["books/close", "0 3 * * * UTC", "books/close", "-", "-", "-"],
    ["claims/claims/nightly", "0 3 * * * UTC", "agent claims", "2023-11-14T22:13:20.000Z", "skipped", "claim-17"],
  ]);
});
