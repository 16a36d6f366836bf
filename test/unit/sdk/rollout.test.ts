import { describe, expect, test } from "vitest";
import { parseBlueprintDocument } from "../../../src/sdk/blueprint.ts";
import { surgeMax, unavailableMax, type InstanceShare } from "../../../src/sdk/rollout.ts";

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
    ["less than nothing", { strategy: "rolling", surge: -1 }, "rollout.surge: is -1; it is a number of instances"],
    ["more than all", { strategy: "rolling", unavailable: "101%" }, 'rollout.unavailable: is "101%"; it is a number'],
    ["half a percent", { strategy: "rolling", surge: "0.5%" }, '"0%" to "100%"'],
    ["a number as a text", { strategy: "rolling", surge: "2" }, 'rollout.surge: is "2"'],
    ["a list", { strategy: "rolling", surge: [1] }, "rollout.surge: is 1; it is a number of instances"],
    ["no percent at all", { strategy: "rolling", surge: "0%", unavailable: "0%" }, "surge and unavailable are both 0"],
  ])("is refused with %s", (_what, rollout, message) => {
    expect(() => rolloutOf({ rollout })).toThrowError(message);
  });

  test("may not miss more than minAvailable leaves", () => {
    const rollout = { strategy: "rolling", unavailable: 2 };
    expect(() => rolloutOf({ rollout, minAvailable: 2 })).toThrowError("slices.orders.rollout.unavailable");
    expect(rolloutOf({ rollout, minAvailable: 1 })).toMatchObject({ unavailable: 2 });
    expect(rolloutOf({ rollout })).toMatchObject({ unavailable: 2 });
  });

  test("may be percent of the instances: up to the next one beside them, down of them", () => {
    const rolling = (surge: InstanceShare, unavailable: InstanceShare) =>
      ({ strategy: "rolling", surge, unavailable }) as const;
    const roomOf = (surge: InstanceShare, unavailable: InstanceShare, instances: number) =>
      [surgeMax(rolling(surge, unavailable), instances), unavailableMax(rolling(surge, unavailable), instances)];
    expect(roomOf("25%", "25%", 10)).toEqual([3, 2]);
    expect(roomOf("25%", "25%", 3)).toEqual([1, 0]);
    expect(roomOf("100%", "0%", 7)).toEqual([7, 0]);
    // Nothing beside them, and a part of them that is less than one: one of them has to go first.
    expect(roomOf(0, "25%", 3)).toEqual([0, 1]);
    expect(roomOf(0, "25%", 0)).toEqual([0, 0]);
    expect(rolloutOf({ rollout: rolling("25%", "10%") })).toEqual(rolling("25%", "10%"));
  });

  test("may not miss more percent than minAvailable leaves", () => {
    const rollout = { strategy: "rolling", unavailable: "67%" };
    expect(() => rolloutOf({ rollout, minAvailable: 2 })).toThrowError("slices.orders.rollout.unavailable");
    expect(rolloutOf({ rollout, minAvailable: 1 })).toMatchObject({ unavailable: "67%" });
  });
});
