import { describe, expect, test } from "vitest";
import { canaryVerdict } from "../../../../src/cluster/rollouts/core/canary-verdict.ts";
import { addCall, NO_CALLS, type VersionTally } from "../../../../src/cluster/rollouts/core/version-tally.ts";
import { rolloutSchema, type CanarySettings } from "../../../../src/sdk/rollout.ts";

const SETTINGS = rolloutSchema.parse({ strategy: "canary" }) as CanarySettings;
const STEP_MS = SETTINGS.stepMs;

function tallyOf(calls: number, errors = 0, ms = 10): VersionTally {
  let tally = NO_CALLS;
  for (let call = 0; call < calls; call++) tally = addCall(tally, call < errors ? "failed" : "ok", ms);
  return tally;
}

function verdict(target: VersionTally, previous: VersionTally, heldForMs = STEP_MS) {
  return canaryVerdict({ target, previous, heldForMs }, SETTINGS);
}

describe("a canary", () => {
  test("goes on when its step is over and it has had enough calls, without much of an error", () => {
    expect(verdict(tallyOf(50), tallyOf(1_000))).toEqual({ kind: "advance" });
    expect(verdict(tallyOf(50), tallyOf(1_000), STEP_MS - 1)).toMatchObject({ kind: "wait" });
    expect(verdict(tallyOf(49), tallyOf(1_000))).toMatchObject({ kind: "wait" });
    expect(verdict(tallyOf(1_000, 10), tallyOf(1_000))).toEqual({ kind: "advance" });
  });

  test("goes on without calls after three steps' time", () => {
    expect(verdict(NO_CALLS, tallyOf(10), 3 * STEP_MS - 1)).toMatchObject({ kind: "wait" });
    expect(verdict(NO_CALLS, NO_CALLS, 3 * STEP_MS)).toEqual({ kind: "advance" });
  });

  test("turns back after three steps' time when none of the few calls that came went well", () => {
    expect(verdict(tallyOf(2, 2), tallyOf(100), 3 * STEP_MS)).toMatchObject({ kind: "turn-back" });
    expect(verdict(tallyOf(1, 1), tallyOf(100), 3 * STEP_MS)).toEqual({ kind: "advance" });
    expect(verdict(tallyOf(3, 2), tallyOf(100), 3 * STEP_MS)).toEqual({ kind: "advance" });
    // Nor did those of the version before.
    expect(verdict(tallyOf(2, 2), tallyOf(4, 3), 3 * STEP_MS)).toEqual({ kind: "advance" });
  });

  test("turns back at once when too many calls fail, and says how many", () => {
    expect(verdict(tallyOf(412, 29), tallyOf(1_000, 2), 0)).toEqual({
      kind: "turn-back", reason: "errors 7% of 412 calls, previous 0.2% of 1000; limit 1%",
    });
  });

  test("turns back before it has enough calls, as soon as more failed than enough may", () => {
    expect(verdict(tallyOf(3, 3), tallyOf(100), 0)).toMatchObject({ kind: "turn-back" });
    // Two calls that fail may be anybody's.
    expect(verdict(tallyOf(2, 2), tallyOf(100), 0)).toMatchObject({ kind: "wait" });
  });

  test("is not blamed for what fails in the version before as well", () => {
    expect(verdict(tallyOf(100, 9), tallyOf(1_000, 50))).toEqual({ kind: "advance" });
    expect(verdict(tallyOf(100, 11), tallyOf(1_000, 50))).toMatchObject({
      reason: "errors 11% of 100 calls, previous 5% of 1000; limit 10%",
    });
  });

  test("turns back when it is slow, by its own limit or by the version before", () => {
    expect(verdict(tallyOf(100, 0, 1_000), tallyOf(100), 0)).toEqual({
      kind: "turn-back", reason: "p99 at least 724 ms of 100 calls, previous at most 11 ms; limit 500 ms",
    });
    expect(verdict(tallyOf(100, 0, 1_000), tallyOf(100, 0, 900))).toEqual({ kind: "advance" });
    expect(verdict(tallyOf(100, 0, 400), tallyOf(100))).toEqual({ kind: "advance" });
    expect(verdict(tallyOf(49, 0, 5_000), tallyOf(100), 0)).toMatchObject({ kind: "wait" });
    expect(verdict(tallyOf(50, 0, 60_000), NO_CALLS, 0)).toMatchObject({
      reason: "p99 at least 32768 ms of 50 calls, previous not known; limit 500 ms",
    });
  });
});
