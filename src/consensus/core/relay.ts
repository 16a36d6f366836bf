// Owns: whom messages about a slot go to first, while nobody is missing. If everybody tells everybody, a slot of n
// voters takes 2n(n - 1) messages. Here followers tell their echo to just as many others as complete a quorum there,
// and their vote to the convener, which tells everybody what was decided; small batches reach the others with its
// proposal. That is a third less of all frames with three voters, less than half with five, a third with seven, for one
// more way of the decision to the followers.
// Does not own: what is said (agreement.ts), and saying it again to everybody when that was too few (proposer.ts):
// to be told later is what a slower network would do, so nothing here matters for safety.
import type { NodeId } from "../../base/ids.ts";
import { KiB } from "../../base/units.ts";
import type { Voter, VoterList } from "./membership.ts";

/** With fewer voters there is nobody whom it would spare anything. */
export const RELAY_VOTERS_MIN = 3;
/** Larger batches go to everybody at once: their bytes cost more than their frames, and the convener sends enough. */
const RELAYED_BATCH_BYTES_MAX = 64 * KiB;

/** Whether a batch goes to the convener alone, which passes it on. Both sides judge by it. */
export function isPassedOn(commands: Uint8Array): boolean {
  return commands.byteLength <= RELAYED_BATCH_BYTES_MAX;
}

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
