import { expect, test } from "vitest";
import { spentOfParent } from "../../../../../src/jobs/core/life/children.ts";

const budget = { usdMicros: 100 };

test.each([
  ["all that it has spent", { usdMicros: 100 }, { usdMicros: 60 }, { usdMicros: 60 }],
  ["not what was added to its budget since", { usdMicros: 150 }, { usdMicros: 130 }, { usdMicros: 100 }],
  ["also what a call has cost more than it said", { usdMicros: 100 }, { usdMicros: 130 }, { usdMicros: 130 }],
  ["that beyond what was added, too", { usdMicros: 110 }, { usdMicros: 130 }, { usdMicros: 120 }],
])("a child that has ended has cost its parent %s", (_what, limit, spent, cost) => {
  expect(spentOfParent({ budget }, { limit, reserved: {}, spent })).toEqual(cost);
});

test("what a child has not heard the end of has cost its parent what was reserved for it", () => {
  const account = { limit: budget, reserved: { usdMicros: 10 }, spent: { usdMicros: 20, tokens: 3 } };
  expect(spentOfParent({ budget }, account)).toEqual({ usdMicros: 30, tokens: 3 });
});
