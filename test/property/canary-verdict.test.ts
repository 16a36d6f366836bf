// What a canary is judged by: counts that add up in any order, and verdicts that do not turn with fewer errors.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { canaryVerdict } from "../../src/cluster/rollouts/core/canary-verdict.ts";
import {
  addCall, addTallies, latencyP99Of, NO_CALLS, type VersionTally,
} from "../../src/cluster/rollouts/core/version-tally.ts";
import { rolloutSchema, type CanarySettings } from "../../src/sdk/rollout.ts";

const SETTINGS = rolloutSchema.parse({ strategy: "canary" }) as CanarySettings;
const calls = fc.array(fc.record({ ms: fc.double({ min: 0, max: 60_000, noNaN: true }), isFailed: fc.boolean() }), {
  maxLength: 200,
});
const tallies = calls.map((all) => all.reduce<VersionTally>(
  (tally, { ms, isFailed }) => addCall(tally, isFailed ? "failed" : "ok", ms), NO_CALLS));
const heldForMs = fc.nat(4 * SETTINGS.stepMs);

test("counts of nodes add up to the count of all their calls, in whatever order", () => {
  fc.assert(fc.property(calls, calls, (some, others) => {
    const count = (all: typeof some): VersionTally => all.reduce<VersionTally>(
      (tally, { ms, isFailed }) => addCall(tally, isFailed ? "failed" : "ok", ms), NO_CALLS);
    const sum = addTallies(count(some), count(others));
    expect(sum).toEqual(count([...some, ...others]));
    expect(sum).toEqual(addTallies(count(others), count(some)));
    expect(sum.buckets.reduce((total, bucket) => total + bucket, 0)).toBe(sum.calls);
  }), { numRuns: 200 });
});

test("the 99th of 100 calls lies where its bucket says", () => {
  fc.assert(fc.property(calls.filter((all) => all.length > 0), (all) => {
    const tally = all.reduce<VersionTally>((sum, { ms }) => addCall(sum, "ok", ms), NO_CALLS);
    const sorted = all.map(({ ms }) => ms).sort((a, b) => a - b);
    const p99 = sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0;
    const found = latencyP99Of(tally);
    expect(found?.fromMs).toBeLessThanOrEqual(p99);
    expect(found?.toMs).toBeGreaterThanOrEqual(p99);
  }), { numRuns: 200 });
});

test("a version that is as good as the one before is not turned back", () => {
  fc.assert(fc.property(tallies, heldForMs, (tally, held) => {
    expect(canaryVerdict({ target: tally, previous: tally, heldForMs: held }, SETTINGS).kind).not.toBe("turn-back");
  }), { numRuns: 300 });
});

test("nothing goes on before its time, and nothing waits for ever", () => {
  fc.assert(fc.property(tallies, tallies, heldForMs, (target, previous, held) => {
    const { kind } = canaryVerdict({ target, previous, heldForMs: held }, SETTINGS);
    if (kind === "advance") expect(held).toBeGreaterThanOrEqual(SETTINGS.stepMs);
    if (held >= 3 * SETTINGS.stepMs) expect(kind).not.toBe("wait");
  }), { numRuns: 300 });
});
