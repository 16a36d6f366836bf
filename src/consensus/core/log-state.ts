// Owns: what consensus itself replicates beside the state machine: which batches ran, and who the members are. Running
// a slot and replaying it from the journal go through here, so that both give the same.
// C8  A batch changes the state at most once; batches of who is no member change nothing.
import type { NodeUid } from "../../base/ids.ts";
import { DedupeTable, type DedupeSnapshot } from "./dedupe-table.ts";
import type { BatchId } from "./message.ts";
import { isChange, parseChange } from "./membership-change.ts";
import { type ChangeVerdict, Membership, type MembershipSnapshot } from "./membership.ts";

export type LogStateSnapshot = readonly [dedupe: DedupeSnapshot, membership: MembershipSnapshot];

export interface Ran {
  /** The first batch of a newer start of its origin: older ones will never run. */
  readonly isFirstOfStart: boolean;
  /** What a change of the membership came to; undefined for commands of the state machine. */
  readonly verdict: ChangeVerdict | undefined;
}

export class LogState {
  dedupe: DedupeTable;
  readonly membership: Membership;

  constructor(dedupe: DedupeTable, membership: Membership) {
    this.dedupe = dedupe;
    this.membership = membership;
  }

  static restore([dedupe, membership]: LogStateSnapshot, windowSlots: number): LogState {
    return new LogState(DedupeTable.restore(dedupe), Membership.restore(membership, windowSlots));
  }

  snapshot(): LogStateSnapshot {
    return [this.dedupe.snapshot(), this.membership.snapshot()];
  }

  /** The same members, and no memory of what ran: a fault that tests plant. */
  withoutBatches(): LogState {
    return new LogState(new DedupeTable(), this.membership);
  }

  /** The state of another node was installed. */
  replace([dedupe, membership]: LogStateSnapshot): void {
    this.dedupe = DedupeTable.restore(dedupe);
    this.membership.replace(membership);
  }

  /**
   * True when nobody needs this batch any more: it ran, a newer start of its origin did, or the origin was removed. An
   * origin that is not known here may be a member by now: its batches are needed.
   */
  covers(id: BatchId): boolean {
    return this.dedupe.covers(id) || this.membership.isRemoved(id.origin);
  }

  /** Whether the batch runs in the next slot that is applied; alike on every node. */
  mayRun(id: BatchId): boolean {
    return !this.dedupe.covers(id) && this.membership.isMember(id.origin);
  }

  /** Runs a batch that may run, in `slot`; commands of the state machine are left to the caller. */
  run(id: BatchId, commands: Uint8Array, slot: number): Ran {
    const isFirstOfStart = this.dedupe.mark(id);
    if (!isChange(commands)) return { isFirstOfStart, verdict: undefined };
    return { isFirstOfStart, verdict: this.change(commands, slot) };
  }

  private change(commands: Uint8Array, slot: number): ChangeVerdict {
    const change = parseChange(commands);
    if (change === undefined) {
      return { kind: "refused", code: "E_INVALID", reason: "the change of the membership cannot be read" };
    }
    const before = new Set<NodeUid>(this.membership.members.map((member) => member.uid));
    const verdict = this.membership.apply(change, slot);
    for (const uid of before) if (!this.membership.isMember(uid)) this.dedupe.forget(uid);
    return verdict;
  }
}
