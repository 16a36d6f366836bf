// Owns: whom messages about a slot go to first where there are many voters. If everybody tells everybody, a slot of n
// voters takes 2n(n - 1) messages. Here followers tell their echo to just as many others as complete a quorum there,
// and their vote to the convener, which tells everybody what was decided: less than half with five voters, a third
// with seven, for one more way of the decision to the followers.
// Does not own: what is said (agreement.ts), and saying it again to everybody when that was too few (proposer.ts):
// to be told later is what a slower network would do, so nothing here matters for safety.
import type { NodeId } from "../../base/ids.ts";
import type { Voter, VoterList } from "./membership.ts";

/** With fewer voters there is nothing to spare: every message is needed, or leaves in the frame of one that is. */
export const RELAY_VOTERS_MIN = 5;

/**
 * Whom a follower tells its echo at once: the next ones in the circle of followers. Each gets as many echoes as make a
 * quorum with its own proposal and that of the relay.
 */
export function echoTargets(list: VoterList, relay: Voter, self: Voter["uid"]): readonly NodeId[] {
  const circle = list.voters.filter(({ uid }) => uid !== relay.uid);
  const own = circle.findIndex(({ uid }) => uid === self);
  return Array.from({ length: list.quorum - 2 }, (_, step) => circle[(own + 1 + step) % circle.length])
    .flatMap((voter) => voter?.node ?? []);
}
