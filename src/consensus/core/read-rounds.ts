// Owns: the quorum rounds of linearizable reads. No lease, no clock, no fsync: ask the voters for the highest slot each
// has *voted in*, take the maximum over a quorum, wait until it is applied. An acknowledged write has a quorum of
// votes, so some answer covers it. ("Highest decided" would be wrong: only the acknowledging node may know the
// decision.) A quorum of every voter list that this node knows to rule from here on must answer; a list that shows up
// while applying up to the target sends the reads into another round (the driver does that).
import type { NodeUid } from "../../base/ids.ts";
import type { VoterList } from "./membership.ts";

export interface ReadRound {
  readonly nonce: number;
  /** Apply up to here before answering. */
  readonly target: number;
}

export class ReadRounds {
  private nonce: number;
  private open: { nonce: number; target: number; answered: Set<NodeUid> } | undefined;

  constructor(firstNonce: number) {
    this.nonce = firstNonce;
  }

  get openNonce(): number | undefined {
    return this.open?.nonce;
  }

  /** Starts a round with this node's own answer. One round at a time; a fresh nonce each. */
  begin(self: NodeUid, voted: number, lists: readonly VoterList[]): ReadRound | undefined {
    this.nonce += 1;
    this.open = { nonce: this.nonce, target: voted, answered: new Set([self]) };
    return this.finished(lists);
  }

  /** The finished round once quorums have answered. Late, foreign and repeated answers change nothing. */
  answer(
    voter: NodeUid,
    reply: { readonly nonce: number; readonly voted: number },
    lists: readonly VoterList[],
  ): ReadRound | undefined {
    if (this.open === undefined || this.open.nonce !== reply.nonce) return undefined;
    this.open.answered.add(voter);
    this.open.target = Math.max(this.open.target, reply.voted);
    return this.finished(lists);
  }

  /** The reads of the open round begin again in a later one. */
  abandon(): void {
    this.open = undefined;
  }

  private finished(lists: readonly VoterList[]): ReadRound | undefined {
    const round = this.open;
    if (round === undefined || lists.some((list) => list.countOf(round.answered) < list.quorum)) return undefined;
    this.open = undefined;
    return { nonce: round.nonce, target: round.target };
  }
}
