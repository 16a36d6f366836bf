// Owns: changes of the members that this node proposes: its callers', and those that nodes ask for by what they say.
// Answers callers once a change is finished. Does not own: what a change does (core/membership.ts).
import { SECOND_MS } from "../base/units.ts";
import { type DecidedChange, encodeChange } from "./core/membership-change.ts";
import { changeKeyOf, type ChangePlan, type ClusterSight, planChange } from "./core/membership-plan.ts";
import type { ChangeVerdict } from "./core/membership.ts";
import type { BatchKey } from "./core/message.ts";
import type { ChangeOutcome, MembershipChange } from "./group.ts";

/** Changes of this node that are decided or finished later; an operator has one, nodes that join a few. */
export const CHANGES_MAX = 64;
/** Any node may propose what others ask for; while the convener is there, it does. */
const LEAVE_TO_CONVENER_MS = 2 * SECOND_MS;

type ChangeCallback = (outcome: ChangeOutcome) => void;

export class MembershipChanges {
  private readonly propose: (batch: Uint8Array) => BatchKey;
  private readonly sight: () => ClusterSight;
  private readonly deciding = new Map<BatchKey, { readonly key: string; readonly done: ChangeCallback }>();
  /** Decided changes of the voter list that do not rule, or are not on enough disks, yet. */
  private settling: { readonly rulesFrom: number; readonly done: ChangeCallback }[] = [];
  private readonly askedMs = new Map<string, number>();

  constructor(propose: (batch: Uint8Array) => BatchKey, sight: () => ClusterSight) {
    this.propose = propose;
    this.sight = sight;
  }

  get count(): number {
    return this.deciding.size + this.settling.length;
  }

  /** A caller wants this change. `done` may be called at once. */
  start(wanted: MembershipChange, done: ChangeCallback): void {
    const plan: ChangePlan = planChange(wanted, this.sight());
    if (plan.kind !== "propose") {
      done(plan);
      return;
    }
    if (this.count >= CHANGES_MAX) {
      done({ kind: "refused", code: "E_OVERLOADED", reason: `${this.count} changes are under way on this node` });
      return;
    }
    this.send(plan.change, done);
  }

  /** A node asked for this by what it said; the cluster wants it proposed once. */
  ask(change: DecidedChange, isConvener: boolean, nowMs: number): void {
    const key = changeKeyOf(change);
    const sinceMs = this.askedMs.get(key) ?? nowMs;
    this.askedMs.set(key, sinceMs);
    if (!isConvener && nowMs - sinceMs < LEAVE_TO_CONVENER_MS) return;
    this.askedMs.delete(key);
    const isUnderWay = [...this.deciding.values()].some((sent) => sent.key === key);
    if (!isUnderWay && this.count < CHANGES_MAX) this.send(change, () => undefined);
  }

  /** The batch of a change ran here. Not an own one: nothing happens. */
  decided(batch: BatchKey, verdict: ChangeVerdict): void {
    const sent = this.deciding.get(batch);
    if (sent === undefined) return;
    this.deciding.delete(batch);
    if (verdict.kind === "refused" || verdict.rulesFrom === undefined) sent.done(verdict);
    else this.settling.push({ rulesFrom: verdict.rulesFrom, done: sent.done });
  }

  /** Answers the callers of changes that are finished by now. */
  settle(): void {
    if (this.settling.length === 0) return;
    const { membership, applied, isSettled } = this.sight();
    const lists = membership.listsFrom(applied);
    const isFinished = ({ rulesFrom }: { readonly rulesFrom: number }): boolean => {
      const list = lists.find((candidate) => candidate.fromSlot === rulesFrom);
      // Replaced by a later one, which waited for it.
      return applied >= rulesFrom && (list === undefined || isSettled(list));
    };
    const finished = this.settling.filter(isFinished);
    this.settling = this.settling.filter((change) => !isFinished(change));
    for (const { done } of finished) done({ kind: "done" });
  }

  /** The node stops, or its state was replaced: what became of its changes is not known here. */
  abandon(reason: string): void {
    const waiting = [...this.deciding.values(), ...this.settling];
    this.deciding.clear();
    this.settling = [];
    for (const { done } of waiting) done({ kind: "unknown", reason });
  }

  private send(change: DecidedChange, done: ChangeCallback): void {
    this.deciding.set(this.propose(encodeChange(change)), { key: changeKeyOf(change), done });
  }
}
