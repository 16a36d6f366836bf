// Owns: the only threshold used anywhere, and counting per sender.
import { type VoteChoice, choiceKeyOf, UNSURE } from "./message.ts";

/** More than half of the *configured* voters, never of those that happen to be connected. */
export function quorumOf(voterCount: number): number {
  return Math.floor(voterCount / 2) + 1;
}

interface Counted<C> {
  readonly voter: number;
  readonly choice: C;
  readonly key: string;
}

export type AddResult = "added" | "repeated" | "contradicts";

/** The messages of one kind, slot and phase, one per sender: a duplicate never counts twice. */
export class Tally<C extends VoteChoice> {
  private readonly counted: Counted<C>[] = [];

  get size(): number {
    return this.counted.length;
  }

  /** `mode: "message"` counts repeats, which is a fault that tests plant. */
  add(voter: number, choice: C, mode: "sender" | "message" = "sender"): AddResult {
    const key = choiceKeyOf(choice);
    const before = this.counted.find((entry) => entry.voter === voter);
    if (before !== undefined && mode === "sender") return before.key === key ? "repeated" : "contradicts";
    this.counted.push({ voter, choice, key });
    return "added";
  }

  of(voter: number): C | undefined {
    return this.counted.find((entry) => entry.voter === voter)?.choice;
  }

  /** The choice other than `?` that at least `need` senders made. */
  winner(need: number): Exclude<C, typeof UNSURE> | undefined {
    for (const candidate of this.counted) {
      if (candidate.choice === UNSURE) continue;
      let votes = 0;
      for (const other of this.counted) if (other.key === candidate.key) votes += 1;
      if (votes >= need) return candidate.choice as Exclude<C, typeof UNSURE>;
    }
    return undefined;
  }

  has(choice: VoteChoice): boolean {
    const key = choiceKeyOf(choice);
    return this.counted.some((entry) => entry.key === key);
  }

  /** Some choice other than `?`; C2 makes it the only one. */
  anyFirm(): Exclude<C, typeof UNSURE> | undefined {
    const firm = this.counted.find((entry) => entry.choice !== UNSURE);
    return firm === undefined ? undefined : (firm.choice as Exclude<C, typeof UNSURE>);
  }
}
