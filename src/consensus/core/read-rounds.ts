// Owns: the quorum rounds of linearizable reads. No lease, no clock, no fsync: ask the voters for the highest slot
// each has
// *voted in*, take the maximum over a quorum, wait until it is applied. An acknowledged write has a quorum of votes, so
// some answer covers it. ("Highest decided" would be wrong: only the acknowledging node may know the decision.)

export interface ReadRound {
  readonly nonce: number;
  /** Apply up to here before answering. */
  readonly target: number;
}

export class ReadRounds {
  private readonly quorum: number;
  private nonce: number;
  private open: { nonce: number; target: number; answered: Set<number> } | undefined;

  constructor(quorum: number, firstNonce: number) {
    this.quorum = quorum;
    this.nonce = firstNonce;
  }

  get openNonce(): number | undefined {
    return this.open?.nonce;
  }

  /** Starts a round with this node's own answer. One round at a time; a fresh nonce each. */
  begin(self: number, voted: number): ReadRound | undefined {
    this.nonce += 1;
    this.open = { nonce: this.nonce, target: voted, answered: new Set([self]) };
    return this.finished();
  }

  /** The finished round once a quorum has answered. Late, foreign and repeated answers change nothing. */
  answer(voter: number, nonce: number, voted: number): ReadRound | undefined {
    if (this.open === undefined || this.open.nonce !== nonce) return undefined;
    this.open.answered.add(voter);
    this.open.target = Math.max(this.open.target, voted);
    return this.finished();
  }

  private finished(): ReadRound | undefined {
    const round = this.open;
    if (round === undefined || round.answered.size < this.quorum) return undefined;
    this.open = undefined;
    return { nonce: round.nonce, target: round.target };
  }
}
