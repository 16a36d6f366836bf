// Owns: one change of the membership as a promise with a deadline. Does not own: what is allowed (consensus).
import { createDeferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import type { Clock } from "../../env/clock.ts";
import type { ChangeOutcome, GroupMembership, MembershipChange } from "../../consensus/group.ts";

/**
 * Resolves once the change rules and a quorum has it on disk.
 * @throws AetherError E_CONFLICT when another change is under way, E_NOT_FOUND, E_INVALID, E_OVERLOADED, E_NO_QUORUM,
 * E_UNAVAILABLE; E_TIMEOUT when it is not known what becomes of it.
 */
export async function changeMembers(
  ports: { readonly clock: Clock; readonly group: Pick<GroupMembership, "changeMembership"> },
  change: MembershipChange,
  timeoutMs: number,
): Promise<void> {
  const ended = createDeferred<ChangeOutcome>();
  const late = `no outcome within ${timeoutMs} ms`;
  const timer = ports.clock.setTimer(timeoutMs, () => ended.resolve({ kind: "unknown", reason: late }));
  ports.group.changeMembership(change, ended.resolve);
  const outcome = await ended.promise;
  timer.cancel();
  if (outcome.kind === "done") return;
  if (outcome.kind === "refused") throw new AetherError(outcome.code, outcome.reason);
  throw new AetherError(
    "E_TIMEOUT",
    `it is not known whether ${change.node} was changed (${change.kind}): ${outcome.reason}; ${adviceFor(change)}`,
  );
}

/** Only who names the directory can be sure to mean the same node again. */
function adviceFor(change: MembershipChange): string {
  const isSafe = change.kind === "add" || change.uid !== undefined;
  return isSafe ? "ask again" : "look at the cluster's status, then ask again if it has not come about";
}
