// Owns: what each slot is judged by: its voters, its quorum, its coin. The faults that tests plant bend it here.
import type { PlantedFault, TestChoices } from "../observer.ts";
import type { Admission, SelfIdentity } from "./admission.ts";
import { coin } from "./coin.ts";
import type { LogState } from "./log-state.ts";
import type { VoterList } from "./membership.ts";
import { quorumOf } from "./quorum.ts";
import type { SlotRules } from "./slot.ts";

export interface SlotRulesParts {
  readonly self: SelfIdentity;
  readonly log: LogState;
  readonly admission: Admission;
  /** How many of the list seem alive now: only a planted fault asks. */
  readonly aliveCount: (list: VoterList) => number;
  readonly choices: TestChoices | undefined;
  readonly planted: PlantedFault | undefined;
}

export function slotRules(parts: SlotRulesParts): (slot: number) => SlotRules {
  const { admission, choices } = parts;
  const toss = (slot: number, phase: number): 0 | 1 => {
    const fair = coin(admission.secret, slot, phase);
    return choices?.coin(slot, phase, fair) ?? fair;
  };
  let made: { readonly list: VoterList; readonly rules: SlotRules } | undefined;
  return (slot) => {
    const list = countedList(parts, slot);
    // Slots of the same voters have the same rules.
    if (made?.list !== list) made = { list, rules: rulesOf(parts, list, toss) };
    return made.rules;
  };
}

function rulesOf(
  { planted, aliveCount, self }: SlotRulesParts, list: VoterList, toss: SlotRules["coin"],
): SlotRules {
  return {
    voterCount: list.voters.length,
    self: list.indexOf(self.uid),
    get quorum() {
      if (planted === "quorum-of-connected") return quorumOf(aliveCount(list));
      return planted === "quorum-minus-one" ? Math.max(1, list.quorum - 1) : list.quorum;
    },
    coin: toss,
    planted,
  };
}

/** The voters of a slot; the faults that tests plant take others. */
function countedList({ log, planted, self }: SlotRulesParts, slot: number): VoterList {
  const { membership } = log;
  const ruling = membership.rulingAt(slot);
  switch (planted) {
    case "membership-at-once":
      return membership.rulingAt(Number.MAX_SAFE_INTEGER);
    case "removed-voter-votes":
      return ruling.has(self.uid) ? ruling : (membership.listsFrom(0)[0] ?? ruling);
    default:
      return ruling;
  }
}
