import { describe, expect, test } from "vitest";
import { parseBlueprintDocument } from "../../../src/sdk/blueprint.ts";

function rolloutOf(slice: object): unknown {
  const document = { slices: { orders: { artifact: "demo:orders:1.0.0", instances: 3, ...slice } } };
  return parseBlueprintDocument(document).slices["orders"]?.rollout;
}

describe("what a blueprint says of a rollout", () => {
  test("has one instance more and none less where it does not say", () => {
    expect(rolloutOf({ rollout: { strategy: "rolling" } })).toEqual({ strategy: "rolling", surge: 1, unavailable: 0 });
    expect(rolloutOf({})).toBeUndefined();
    expect(rolloutOf({ rollout: { strategy: "canary" } })).toEqual({
      strategy: "canary", steps: [1, 5, 25, 50, 100], stepMs: 60_000, minCalls: 50, errorRateMax: 0.01, p99MsMax: 500,
    });
    expect(rolloutOf({ rollout: { strategy: "blue-green" } })).toEqual({ strategy: "blue-green", bakeMs: 60_000 });
  });

  test.each([
    ["another strategy", { strategy: "hope" }, "strategy"],
    ["no room at all", { strategy: "rolling", surge: 0 }, "surge and unavailable are both 0"],
    ["what is not there", { strategy: "rolling", steps: [1] }, "steps"],
    ["steps that end early", { strategy: "canary", steps: [1, 50] }, "the last one is 100"],
    ["steps that do not grow", { strategy: "canary", steps: [50, 50, 100] }, "steps grow"],
    ["a bake of two days", { strategy: "blue-green", bakeMs: 172_800_000 }, "bakeMs"],
    ["less than nothing", { strategy: "rolling", surge: -1 }, "surge"],
  ])("is refused with %s", (_what, rollout, message) => {
    expect(() => rolloutOf({ rollout })).toThrowError(message);
  });

  test("may not miss more than minAvailable leaves", () => {
    const rollout = { strategy: "rolling", unavailable: 2 };
    expect(() => rolloutOf({ rollout, minAvailable: 2 })).toThrowError("slices.orders.rollout.unavailable");
    expect(rolloutOf({ rollout, minAvailable: 1 })).toMatchObject({ unavailable: 2 });
    expect(rolloutOf({ rollout })).toMatchObject({ unavailable: 2 });
  });
});
