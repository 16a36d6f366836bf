import { describe, expect, test } from "vitest";
import { sha256 } from "../../../../src/base/digest.ts";
import { parseArtifactId } from "../../../../src/base/ids.ts";
import {
  leadingVersion, type LeadState, type VersionOfRevision,
} from "../../../../src/cluster/rollouts/core/leading-version.ts";
import type { RolloutRow } from "../../../../src/slices/core/rollout-row.ts";

const version = (revision: number): VersionOfRevision => ({ specDigest: sha256(`v${revision}`), revision });
const [OLD, NEW, NEXT] = [version(1), version(2), version(3)];
const artifact = parseArtifactId("demo:orders:1.0.0");

function rowOf(row: Partial<RolloutRow>): RolloutRow {
  const versions = { target: { artifact, ...NEW }, previous: { artifact, ...OLD } };
  return { strategy: "rolling", stage: "shifting", ...versions, sinceMs: 0, ...row };
}

function leading(state: Partial<LeadState>): number {
  const whole = { wanted: NEW, serving: [], rollout: undefined, digestAt: () => undefined, ...state };
  return leadingVersion(whole).revision;
}

test("what is wanted leads where nothing serves, and where it alone serves", () => {
  expect(leading({})).toBe(2);
  expect(leading({ serving: [NEW] })).toBe(2);
});

test("what serves leads before a rollout has begun: between a new revision and the leader's row", () => {
  expect(leading({ serving: [OLD, OLD] })).toBe(1);
  expect(leading({ serving: [OLD], rollout: rowOf({ stage: "done", target: { artifact, ...OLD } }) })).toBe(1);
});

describe("in a rolling update", () => {
  test("the new version leads once as many of its instances serve as of the one before", () => {
    const rollout = rowOf({});
    expect(leading({ rollout, serving: [OLD, OLD, OLD] })).toBe(1);
    expect(leading({ rollout, serving: [OLD, OLD, NEW] })).toBe(1);
    expect(leading({ rollout, serving: [OLD, NEW] })).toBe(2);
    expect(leading({ rollout, serving: [NEW] })).toBe(2);
    expect(leading({ rollout, serving: [] })).toBe(1);
  });

  test("the version before leads again at once when it turns back, unless nothing of it serves", () => {
    const rollout = rowOf({ stage: "rolling-back" });
    expect(leading({ rollout, serving: [OLD, NEW, NEW] })).toBe(1);
    expect(leading({ rollout, serving: [NEW] })).toBe(2);
    expect(leading({ rollout: rowOf({ stage: "rolled-back" }), serving: [] })).toBe(1);
  });
});

test("where calls have shares the new version leads with the last of them, not before", () => {
  const serving = [OLD, NEW, NEW];
  const shares = [0, 5_000, 10_000].map((targetShare) =>
    leading({ rollout: rowOf({ strategy: "canary", targetShare }), serving }));
  expect(shares).toEqual([1, 1, 2]);
  expect(leading({ rollout: rowOf({ strategy: "canary", stage: "finishing", targetShare: 10_000 }), serving })).toBe(2);
});

test("a rollout that is overtaken leaves what led before it", () => {
  const overtaken = { wanted: NEXT, rollout: rowOf({}) };
  expect(leading({ ...overtaken, serving: [OLD, NEW, NEW] })).toBe(1);
  expect(leading({ ...overtaken, serving: [NEW] })).toBe(2);
  // Back to what led: as the newest revision says it.
  const again = { specDigest: OLD.specDigest, revision: 3 };
  expect(leading({ wanted: again, rollout: rowOf({}), serving: [OLD, NEW] })).toBe(3);
});

test("with the row of the rollout unknown what most instances serve leads, the newer one of two", () => {
  const wanted = version(9);
  expect(leading({ wanted, serving: [NEW, OLD, OLD] })).toBe(1);
  expect(leading({ wanted, serving: [OLD, NEW] })).toBe(2);
});
