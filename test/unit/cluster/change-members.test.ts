import { expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { changeMembers } from "../../../src/cluster/membership/change-members.ts";
import type { ChangeOutcome, MembershipChange } from "../../../src/consensus/group.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const PROMOTE: MembershipChange = { kind: "promote", node: parseNodeId("n4") };

/** A group in which every change comes to `outcome`, or to nothing. */
function change(outcome: ChangeOutcome | undefined): { readonly clock: ManualClock; readonly ended: Promise<void> } {
  const clock = new ManualClock();
  const changeMembership = (_change: MembershipChange, done: (outcome: ChangeOutcome) => void): void => {
    if (outcome !== undefined) clock.defer(() => done(outcome));
  };
  return { clock, ended: changeMembers({ clock, group: { changeMembership } }, PROMOTE, 30_000) };
}

test("a change that rules is done", async () => {
  const { clock, ended } = change({ kind: "done" });
  await clock.settle();
  await expect(ended).resolves.toBeUndefined();
});

test("a refusal keeps its code and reason", async () => {
  const { clock, ended } = change({ kind: "refused", code: "E_CONFLICT", reason: "n5 is being removed" });
  const refused = expect(ended).rejects.toMatchObject({ code: "E_CONFLICT", message: "n5 is being removed" });
  await clock.settle();
  await refused;
});

test("what is not known, or not known in time, is said to be so", async () => {
  for (const outcome of [undefined, { kind: "unknown", reason: "the node stops" } as const]) {
    const { clock, ended } = change(outcome);
    const unknown = expect(ended).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: "unknown" });
    await clock.advance(30_000);
    await unknown;
  }
});
