import { expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { settingDifferences } from "../../../../src/cluster/membership/core/setting-differences.ts";

const n1 = parseNodeId("n1");
const n2 = parseNodeId("n2");
const n3 = parseNodeId("n3");

test("a setting that is the same everywhere is no difference, another one is named with each node's value", () => {
  const settings = { "deployment.loadingMsMax": 60_000, peerFrameBytesMax: 8 };
  expect(settingDifferences([{ node: n1, settings }, { node: n2, settings: { ...settings } }])).toEqual([]);
  const other = { ...settings, "deployment.loadingMsMax": 120_000 };
  const nodes = [{ node: n1, settings }, { node: n2, settings: other }, { node: n3, settings }];
  expect(settingDifferences(nodes)).toEqual([{
    setting: "deployment.loadingMsMax",
    values: [{ node: n1, value: 60_000 }, { node: n2, value: 120_000 }, { node: n3, value: 60_000 }],
  }]);
});

test("a node that does not say a setting, as a build before it, differs from nobody", () => {
  const nodes = [{ node: n1, settings: { a: 1 } }, { node: n2, settings: undefined }, { node: n3, settings: { b: 2 } }];
  expect(settingDifferences(nodes)).toEqual([]);
});
