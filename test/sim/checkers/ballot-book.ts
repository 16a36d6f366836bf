// Owns: everything ever proposed, voted and stated in ONE slot, by whom, and what of it is on disk.
// Sets of nodes are bit masks: bit i is the i-th voter.

import type { VoterList } from "./voter-lists.ts";

export const UNSURE_KEY = "?";

/** The votes or the states of one phase. */
export class PhaseBook {
  /** The choice of each voter, sent or durable. */
  private readonly choiceOf: (string | undefined)[] = [];
  private readonly seen = new Map<string, number>();
  private readonly durable = new Map<string, number>();
  /** The one choice other than `?`, and a second one where there should be none. */
  firm: string | undefined;
  secondFirm: string | undefined;

  choice(voter: number): string | undefined {
    return this.choiceOf[voter];
  }

  isDurable(voter: number, choice: string): boolean {
    return ((this.durable.get(choice) ?? 0) & (1 << voter)) !== 0;
  }

  /** Records a choice that was sent or is durable. */
  addSeen(voter: number, choice: string): void {
    this.choiceOf[voter] ??= choice;
    this.seen.set(choice, (this.seen.get(choice) ?? 0) | (1 << voter));
    if (choice === UNSURE_KEY) return;
    if (this.firm === undefined) this.firm = choice;
    else if (this.firm !== choice) this.secondFirm ??= choice;
  }

  addDurable(voter: number, choice: string): void {
    this.durable.set(choice, (this.durable.get(choice) ?? 0) | (1 << voter));
  }

  /** How many of the voters in `mask`. */
  countSeen(choice: string, mask: number): number {
    return countBits((this.seen.get(choice) ?? 0) & mask);
  }

  /** How many made any choice. */
  countAll(): number {
    return this.choiceOf.filter((choice) => choice !== undefined).length;
  }

  countDurable(choice: string, mask: number): number {
    return countBits((this.durable.get(choice) ?? 0) & mask);
  }
}

interface Proposed {
  readonly value: string;
  /** The life of the process that proposed. */
  readonly life: number;
}

export class SlotBook {
  readonly proposedBy: (Proposed | undefined)[] = [];
  private readonly proposers = new Map<string, number>();
  readonly votes: PhaseBook[] = [];
  readonly states: PhaseBook[] = [];
  /** Once a quorum of durable votes for one choice exists in a phase: no later state may say anything else (C4). */
  locked: { readonly phase: number; readonly choice: string } | undefined;
  decided: string | undefined;
  /** Voters that decided in their present life, so that a restart can be told from doubt. */
  decidedBy = 0;

  propose(voter: number, proposed: Proposed): void {
    this.proposedBy[voter] = proposed;
    this.proposers.set(proposed.value, (this.proposers.get(proposed.value) ?? 0) | (1 << voter));
  }

  countProposers(value: string, mask: number): number {
    return countBits((this.proposers.get(value) ?? 0) & mask);
  }

  votesOf(phase: number): PhaseBook {
    return bookOf(this.votes, phase);
  }

  statesOf(phase: number): PhaseBook {
    return bookOf(this.states, phase);
  }

  /** A phase in which a quorum has this choice on disk. */
  phaseWithDurableQuorum(choice: string, { mask, quorum }: VoterList): number | undefined {
    const phase = this.votes.findIndex((book) => book.countDurable(choice, mask) >= quorum);
    return phase < 0 ? undefined : phase;
  }
}

function bookOf(books: PhaseBook[], phase: number): PhaseBook {
  for (let missing = books.length; missing <= phase; missing += 1) books.push(new PhaseBook());
  return books[phase] ?? new PhaseBook();
}

export function countBits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
