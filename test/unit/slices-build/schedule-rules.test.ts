import { describe, expect, test } from "vitest";
import { parseManifest, type Manifest } from "../../../src/slices/core/manifest.ts";
import { blueprintStatusOf } from "../../../src/slices/core/blueprint-status.ts";
import { parseScheduleRow, resolveAgentSchedules, resolveSchedules } from "../../../src/slices/core/schedule-row.ts";
import { checkSchedules } from "../../../src/slices/blueprints/schedule-rules.ts";
import { blueprintOf, sliceOf } from "../../support/cluster-rows.ts";
import { sampleManifest } from "./sample-artifacts.ts";

const NIGHTLY = { cron: "0 3 * * *", method: "close", timeZone: "UTC" };

function manifestWith(schedules: NonNullable<Manifest["schedules"]>): Manifest {
  const base = sampleManifest({ artifact: "demo:books:1.0.0" });
  const close = { effect: "write" as const, timeoutMs: 1_000, input: {}, output: {} };
  return { ...base, methods: { ...base.methods, close }, schedules };
}

describe("schedules of a new artifact", () => {
  test("are taken as they are, sorted by name", () => {
    const manifest = manifestWith({ weekly: { ...NIGHTLY, cron: "0 3 * * SUN" }, nightly: NIGHTLY });
    checkSchedules(manifest);
    checkSchedules(sampleManifest({ artifact: "demo:books:1.0.0" }));
    expect(resolveSchedules(manifest).map(({ name }) => name)).toEqual(["nightly", "weekly"]);
  });

  test.each([
    ["an expression that is none", { cron: "every night" }, "five fields"],
    ["a time zone that there is not", { timeZone: "Mars/Base" }, "Mars/Base"],
    ["a method that there is not", { method: "open" }, 'no method "open"'],
    ["a read", { method: "ping" }, "a read"],
  ])("are refused with %s", (_what, change, reason) => {
    expect(() => checkSchedules(manifestWith({ nightly: { ...NIGHTLY, ...change } }))).toThrow(expect.objectContaining({
      code: "E_INVALID",
      details: { issues: [{ path: ["schedules", "nightly"], message: expect.stringContaining(reason) as string }] },
    }));
  });

  test("are refused when there are too many", () => {
    const many = Object.fromEntries(Array.from({ length: 21 }, (_, index) => [`s${index}`, NIGHTLY]));
    expect(() => checkSchedules(manifestWith(many))).toThrow(/the limit is 20/);
  });
});

describe("schedules of an agent of a new artifact", () => {
  const HOURLY = { cron: "0 * * * *", timeZone: "UTC", input: { all: true }, overlap: "skip" as const };
  const takes = {
    type: "object", properties: { all: { type: "boolean" } }, required: ["all"], additionalProperties: false,
  };

  function manifestOf(schedules: NonNullable<NonNullable<Manifest["agents"]>[string]["schedules"]>): Manifest {
    const agents = { audit: { input: takes, output: {}, tools: {}, signals: {}, schedules } };
    return { ...sampleManifest({ artifact: "demo:audit:1.0.0" }), agents };
  }

  test("are taken as they are, sorted by agent and name", () => {
    const manifest = parseManifest(manifestOf({ nightly: { ...HOURLY, cron: "0 3 * * *" }, hourly: HOURLY }));
    checkSchedules(manifest);
    expect(resolveAgentSchedules(manifest)).toEqual([
      { agent: "audit", name: "hourly", ...HOURLY },
      { agent: "audit", name: "nightly", ...HOURLY, cron: "0 3 * * *" },
    ]);
  });

  test.each([
    ["an expression that is none", { cron: "every night" }, "five fields"],
    ["an input that the agent does not take", { input: { all: 1 } }, "not what the agent takes"],
    ["no input where the agent needs one", { input: {} }, "not what the agent takes"],
    ["an input that is too large", { input: { all: "x".repeat(5_000) } }, "above 4096 bytes"],
  ])("are refused with %s", (_what, change, reason) => {
    const path = ["agents", "audit", "schedules", "hourly"];
    expect(() => checkSchedules(manifestOf({ hourly: { ...HOURLY, ...change } }))).toThrow(expect.objectContaining({
      code: "E_INVALID", details: { issues: [{ path, message: expect.stringContaining(reason) as string }] },
    }));
  });
});

test("the status of a blueprint says how the last tick ended", () => {
  const schedules = [{ ...NIGHTLY, name: "nightly" }, { ...NIGHTLY, name: "new" }];
  const shop = blueprintOf({ books: { ...sliceOf("books", 1), schedules } });
  const error = { code: "E_HANDLER", message: "no" };
  const row = parseScheduleRow({ ...NIGHTLY, state: "failed", tickMs: 1_000, endedMs: 1_200, error });
  const { slices } = blueprintStatusOf(shop, [], {
    outlook: { unplaced: [], waiting: [] },
    rollouts: new Map(),
    scheduleRow: (_slice, name) => (name === "nightly" ? row : parseScheduleRow({ ...row, state: "waiting" })),
  });
  expect(slices["books"]?.schedules).toEqual({
    nightly: { ...NIGHTLY, last: { state: "failed", tick: 1_000, ended: 1_200, error } },
    new: NIGHTLY,
  });
  expect(() => parseScheduleRow({ ...NIGHTLY, state: "late", tickMs: 1 })).toThrow(
    expect.objectContaining({ code: "E_DATA_CORRUPT" }));
});
