import { expect, test } from "vitest";
import { AetherError } from "../../../../src/base/errors.ts";
import { backOffMs, failedRow } from "../../../../src/cluster/deployment/core/failure-class.ts";
import type { InstanceRow } from "../../../../src/slices/core/instance-row.ts";

const ROW: InstanceRow = {
  state: "LOADING", slice: "orders", blueprint: "shop", revision: 1, generation: 1, sinceMs: 0, attempt: 3,
};

test("the back-off doubles from one second to a minute, and is nothing for who did nothing wrong", () => {
  expect([0, 1, 2, 3, 6, 7, 1_000].map(backOffMs)).toEqual([0, 1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
});

test("a passing failure says when it is tried again", () => {
  const row = failedRow(ROW, new AetherError("E_TIMEOUT", "loading took too long"), { nowWallMs: 100, attempt: 3 });
  expect(row).toMatchObject({ state: "FAILED", attempt: 3 });
  expect(row.error).toMatchObject({ code: "E_TIMEOUT", fatal: false, retryAtMs: 4_100 });
});

test("a failure that repeats itself is fatal and names no next time", () => {
  const row = failedRow(ROW, new AetherError("E_INVALID", "config does not match"), { nowWallMs: 100, attempt: 3 });
  expect(row.error).toEqual({ code: "E_INVALID", message: "config does not match", fatal: true });
});
