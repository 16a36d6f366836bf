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

interface Sent {
  readonly key: string;
  /** What its caller wants; undefined for what a node asked for by what it said. */
  readonly wanted: MembershipChange | undefined;
  readonly done: ChangeCallback;
}

export class MembershipChanges {
  private readonly propose: (batch: Uint8Array) => BatchKey;
  private readonly sight: () => ClusterSight;
  private readonly deciding = new Map<BatchKey, Sent>();
  /** Decided changes of the voter list that do not rule, or are not on enough disks, yet. */
  private settling: { readonly rulesFrom: number; readonly done: ChangeCallback }[] = [];
  /** What is left to the convener, while it is asked for. */
  private readonly left = new Map<string, { readonly sinceMs: number; readonly lastMs: number }>();

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
      this.answer(plan, done);
      return;
    }
    if (this.count >= CHANGES_MAX) {
      done({ kind: "refused", code: "E_OVERLOADED", reason: `${this.count} changes are under way on this node` });
      return;
    }
    this.send(plan.change, { wanted: withDirectory(wanted, plan.change), done });
  }

  /** A node asked for this by what it said; the cluster wants it proposed once. */
  ask(change: DecidedChange, isConvener: boolean, nowMs: number): void {
    const key = changeKeyOf(change);
    if (!isConvener && !this.isLeftTooLong(key, nowMs)) return;
    this.left.delete(key);
    const isUnderWay = [...this.deciding.values()].some((sent) => sent.key === key);
    if (!isUnderWay && this.count < CHANGES_MAX) this.send(change, { wanted: undefined, done: () => undefined });
  }

  /** The batch of a change ran here. Not an own one: nothing happens. */
  decided(batch: BatchKey, verdict: ChangeVerdict): void {
    const sent = this.deciding.get(batch);
    if (sent === undefined) return;
    this.deciding.delete(batch);
    this.answer(verdict.kind === "refused" ? this.judgeAgain(sent, verdict) : verdict, sent.done);
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

  private send(change: DecidedChange, rest: Omit<Sent, "key">): void {
    this.deciding.set(this.propose(encodeChange(change)), { key: changeKeyOf(change), ...rest });
  }

  /** Whether this was asked for again and again, and the convener did nothing. */
  private isLeftTooLong(key: string, nowMs: number): boolean {
    for (const [other, { lastMs }] of this.left) {
      // Asked for once a second at least as long as somebody wants it.
      if (nowMs - lastMs >= LEAVE_TO_CONVENER_MS) this.left.delete(other);
    }
    const sinceMs = this.left.get(key)?.sinceMs ?? nowMs;
    this.left.set(key, { sinceMs, lastMs: nowMs });
    return nowMs - sinceMs >= LEAVE_TO_CONVENER_MS;
  }

  /** Of two who ask for the same at once, the second is refused what the first has done. */
  private judgeAgain({ wanted }: Sent, verdict: ChangeVerdict): ChangeVerdict {
    const plan = wanted === undefined ? undefined : planChange(wanted, this.sight());
    return plan?.kind === "done" ? plan : verdict;
  }

  private answer(verdict: Exclude<ChangePlan, { kind: "propose" }> | ChangeVerdict, done: ChangeCallback): void {
    if (verdict.kind === "refused" || verdict.rulesFrom === undefined) done(verdict);
    else this.settling.push({ rulesFrom: verdict.rulesFrom, done });
  }
}

/** What is asked for from here on is about the directory that was found, whoever has its name later. */
function withDirectory(wanted: MembershipChange, change: DecidedChange): MembershipChange {
  return wanted.kind === "add" || change.kind === "raise-version" ? wanted : { ...wanted, uid: change.uid };
}
