import { expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { Membership } from "../../../../src/consensus/core/membership.ts";
import { checkSupported, CLUSTER_VERSION_MAX } from "../../../../src/consensus/core/version.ts";

const NEXT = CLUSTER_VERSION_MAX + 1;

/** A membership at the highest version that this build works with. */
function membershipAtMax(): Membership {
  const membership = Membership.unformed([parseNodeId("n1")], 64);
  for (let version = membership.version + 1; version <= CLUSTER_VERSION_MAX; version += 1) {
    expect(membership.apply({ kind: "raise-version", version }, version)).toMatchObject({ kind: "done" });
  }
  return membership;
}

test("a build goes on at every version that it works with, and says what to do at the next one", () => {
  expect(() => checkSupported(CLUSTER_VERSION_MAX)).not.toThrow();
  expect(() => checkSupported(NEXT)).toThrow(expect.objectContaining({
    code: "E_VERSION",
    message: expect.stringMatching(/up to version \d+, and this one is at version \d+: start this node with/) as string,
  }));
});

test("a version that is raised beyond this build stops it before anything that follows", () => {
  const membership = membershipAtMax();
  expect(() => membership.apply({ kind: "raise-version", version: NEXT }, 9)).toThrow(/E_VERSION|at version/);
  expect(membership.version).toBe(CLUSTER_VERSION_MAX);
});

test("only the next version can be raised to: a second proposal of the same does nothing", () => {
  const membership = membershipAtMax();
  for (const version of [CLUSTER_VERSION_MAX, NEXT + 1]) {
    expect(membership.apply({ kind: "raise-version", version }, 9)).toMatchObject({ kind: "refused" });
  }
});

test("a state of a newer cluster is not taken over", () => {
  const [, ...rest] = membershipAtMax().snapshot();
  expect(() => Membership.restore([NEXT, ...rest], 64)).toThrow(/at version/);
});
