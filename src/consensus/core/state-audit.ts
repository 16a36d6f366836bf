// Owns: finding a state that is not the others': every node says the hash of its state after the same slots. A node
// that a quorum contradicts is wrong; while nobody has a quorum, nobody can be believed.
// C7  Equal hashes at equal slots.
import type { NodeUid } from "../../base/ids.ts";
import type { VoterList } from "./membership.ts";
import type { StateHash } from "./message.ts";

/** The state is compared after every slot whose number + 1 is a multiple of this. */
export const AUDIT_EVERY_SLOTS = 1_024;
/** Hashes that are kept: a node further behind compares when it has caught up. */
export const AUDIT_HASHES_MAX = 16;

export type AuditVerdict =
  | { readonly kind: "agreed" }
  /** Nodes disagree, and no state has a quorum. */
  | { readonly kind: "disputed"; readonly slot: number }
  /** A quorum has another state than this node. */
  | { readonly kind: "diverged"; readonly slot: number; readonly own: number; readonly others: number };

const AGREED: AuditVerdict = { kind: "agreed" };

export class StateAudit {
  private own: readonly StateHash[] = [];

  /** For statuses, the latest last. */
  get hashes(): readonly StateHash[] {
    return this.own;
  }

  note(slot: number, hash: number): void {
    this.own = [...this.own, { slot, hash }].slice(-AUDIT_HASHES_MAX);
  }

  /** The state was replaced: hashes of the old one say nothing about it. */
  reset(): void {
    this.own = [];
  }

  judge(self: NodeUid, told: ReadonlyMap<NodeUid, readonly StateHash[]>, list: VoterList): AuditVerdict {
    for (let at = this.own.length - 1; at >= 0; at--) {
      const own = this.own[at];
      const verdict = own === undefined ? AGREED : judgeSlot(own, self, told, list);
      if (verdict.kind !== "agreed") return verdict;
    }
    return AGREED;
  }
}

function judgeSlot(
  own: StateHash,
  self: NodeUid,
  told: ReadonlyMap<NodeUid, readonly StateHash[]>,
  list: VoterList,
): AuditVerdict {
  const { slot } = own;
  const votersByHash = new Map<number, number>();
  if (list.has(self)) votersByHash.set(own.hash, 1);
  for (const { uid } of list.voters) {
    const other = uid === self ? undefined : told.get(uid)?.find((said) => said.slot === slot);
    if (other !== undefined) votersByHash.set(other.hash, (votersByHash.get(other.hash) ?? 0) + 1);
  }
  for (const [hash, voters] of votersByHash) {
    if (voters < list.quorum) continue;
    return hash === own.hash ? AGREED : { kind: "diverged", slot, own: own.hash, others: hash };
  }
  const isUnanimous = votersByHash.size === 0 || (votersByHash.size === 1 && votersByHash.has(own.hash));
  return isUnanimous ? AGREED : { kind: "disputed", slot };
}
