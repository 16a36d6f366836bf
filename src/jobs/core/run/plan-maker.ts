// Owns: ONE plan in the making: what each operation of the code and each change of its owner comes to, over the state
// as it is in the store. Does not own: calls of tools (plan-calls.ts), what is planned and when (run-batch.ts).
import { unreachable } from "../../../base/assert.ts";
import type { JobId } from "../../../base/ids.ts";
import { leftOf, ONE_STEP, UNITS, type Amount } from "../budget/account.ts";
import { unitName } from "../budget/amounts.ts";
import { APPROVALS_OPEN_MAX } from "../flow/approval-row.ts";
import type { CallName } from "../ids.ts";
import { attachedOf, CHILDREN_PER_APPEND_MAX, type ChildStart, type WantChild } from "../life/children.ts";
import { apart } from "../payloads/blob.ts";
import type { JobResult } from "../rows.ts";
import type { AgentOp, AgentWait } from "../worker/messages.ts";
import { blobOfOp } from "../worker/op-payload.ts";
import { PlanCalls } from "./plan-calls.ts";
import { PlanDraft } from "./plan-draft.ts";
import type { ChildAnswer, OwnChange, Plan, PlanState, RunFacts } from "./plan.ts";
import type { Offered } from "./run-waits.ts";

/** Events of one append, and calls that it may grant: each is a row beside them. */
export const PLAN_EVENTS_MAX = 64;
const PLAN_TOOLS_MAX = 16;
/** Approvals that it may ask for: two rows each, with 16 KiB that are shown. */
const PLAN_APPROVALS_MAX = 8;
/** Payloads that are stored apart: three rows each. */
const PLAN_BLOBS_MAX = 4;

export class PlanMaker {
  private readonly facts: RunFacts;
  private readonly state: PlanState;
  private readonly draft: PlanDraft;
  private readonly calls: PlanCalls;
  private readonly timers = new Set<CallName>();
  private readonly folded: number[] = [];
  private readonly taken: number[] = [];
  private readonly stepsAllowed: number[] = [];
  private readonly childStarts: ChildStart[] = [];
  private readonly childCancels = new Set<JobId>();
  /** Approvals that this plan asks for. */
  private asked = 0;
  private hasFedAny = false;

  constructor(facts: RunFacts, state: PlanState) {
    this.facts = facts;
    this.state = state;
    this.draft = new PlanDraft(state, facts.epoch);
    this.calls = new PlanCalls(facts, state, this.draft);
  }

  /** Something that waited for more budget goes on. */
  get hasFed(): boolean {
    return this.hasFedAny;
  }

  /** An operation makes three events at most; one more is the end of a phase. */
  get isFull(): boolean {
    return this.draft.events.length > PLAN_EVENTS_MAX - 4 || this.calls.changed >= PLAN_TOOLS_MAX ||
      this.folded.length >= PLAN_TOOLS_MAX || this.asked >= PLAN_APPROVALS_MAX || this.draft.blobs >= PLAN_BLOBS_MAX ||
      this.childStarts.length >= CHILDREN_PER_APPEND_MAX;
  }

  get hasOpenCalls(): boolean {
    return this.calls.hasOpen;
  }

  /**
   * Whether it is not known yet if and how the child can be started that this operation wants, or its payload is not
   * stored yet.
   */
  isWaitingFor(n: number, op: AgentOp): boolean {
    const blob = blobOfOp(op);
    if (blob !== undefined && this.facts.isStored?.(blob) === false) return true;
    return op.kind === "want-child" && !this.draft.cancel.isCancelled && !this.draft.children.has(op.call) &&
      !this.state.childAnswers.has(n);
  }

  /** What asked the job to end first says how it has ended, where its code did nothing else. */
  endOf(wanted: JobResult): JobResult {
    const { overdueEnd } = this.facts;
    const { isOverdue } = this.draft.cancel;
    return wanted.kind === "cancelled" && isOverdue && overdueEnd !== undefined ? overdueEnd : wanted;
  }

  addChange(change: OwnChange): void {
    switch (change.kind) {
      case "lost":
        return this.calls.lose(change.effectId, change.reason);
      case "unwanted":
        this.folded.push(change.inbox);
        return;
      case "resolved": {
        const { inbox, entry: { effect: effectId, resolution, principal } } = change;
        this.folded.push(inbox);
        return this.calls.resolve({ effectId, resolution, by: { kind: "person", principal } }, inbox);
      }
      case "admitted":
        return this.calls.admit(change.effectId);
      case "raised": {
        const { inbox, add, principal } = change;
        this.folded.push(inbox);
        return this.draft.push({ type: "budget.raised", add, principal });
      }
      case "settled": {
        const { inbox, call, spent } = change;
        this.folded.push(inbox);
        return this.draft.push({ type: "child.settled", call, ...(spent !== undefined && { spent }) });
      }
      case "let-go":
        this.folded.push(change.inbox);
        return this.draft.push({ type: "job.let-go", principal: change.principal });
      default:
        return unreachable(change);
    }
  }

  add(n: number, op: AgentOp): void {
    switch (op.kind) {
      case "step-completed":
        this.draft.stepsOpen.delete(op.call);
        return this.draft.push({ type: "step.completed", call: op.call, value: op.value, ...apart(op) });
      case "step-failed":
        return this.addFailedStep(op);
      case "want-step":
        return this.addWantStep(n, op);
      case "value":
        return this.draft.push({ type: "value.recorded", call: op.call, value: op.value });
      case "took":
        return this.addTaken(op.offer);
      case "want-tool":
        return this.calls.want({ n, want: op });
      case "outcome":
        return this.calls.takeOutcome(op.effectId, op.outcome);
      case "verified": {
        const { call, verdict, onMismatch } = op;
        return this.draft.push({ type: "tool.verified", call, verdict, onMismatch });
      }
      case "want-wait":
        return this.addWait(n, op);
      case "want-child":
        return this.addChild(n, op);
      case "completed":
      case "failed":
      case "cancelled":
      case "continued":
        // The end comes once every call that the code left behind has an outcome.
        return;
      default:
        return unreachable(op);
    }
  }

  /** What the budget suffices for by now goes on. */
  feed(): void {
    const { starved } = this.draft;
    for (const [n, { op }] of [...starved]) {
      if (this.isFull) return;
      if (this.state.isEnding && !(op.kind === "want-tool" && this.calls.isOpen(op))) continue;
      if (op.kind === "want-child" && !this.state.childAnswers.has(n)) continue;
      starved.delete(n);
      if (op.kind === "want-tool") this.calls.consider({ n, want: op });
      else this.add(n, op);
      this.hasFedAny ||= !starved.has(n);
    }
  }

  finish(upTo: number, changes: number, how: Partial<Pick<Plan, "end" | "next" | "ahead">> = {}): Plan {
    const { folded, taken, childStarts, stepsAllowed } = this;
    const { events, refused, account, starved, stepsOpen } = this.draft;
    if (how.end !== undefined) this.cancelChildren();
    return {
      // Not in front: fields behind a first `...` are added one by one, which took more than all else of a plan.
      events, folded, ...this.calls.parts, upTo, ahead: [], changes, refused, taken, account, starved, stepsAllowed,
      stepsOpen, childStarts, childCancels: [...this.childCancels],
      ...how,
    };
  }

  /** Also what the node refuses of a call is told as a step that failed: nothing was done that would count. */
  private addFailedStep({ call, error }: Extract<AgentOp, { readonly kind: "step-failed" }>): void {
    const isLimited = this.draft.account?.limit.steps !== undefined;
    const isRefusal = !this.draft.stepsOpen.delete(call) && isLimited;
    this.draft.push({ type: "step.failed", call, error, ...(isRefusal && { isRefusal }) });
  }

  private addWantStep(n: number, op: Extract<AgentOp, { readonly kind: "want-step" }>): void {
    if (this.draft.isShort({ n, op }, ONE_STEP)) return;
    this.draft.stepsOpen.add(op.call);
    this.stepsAllowed.push(n);
  }

  private addWait(n: number, { call, wait }: Extract<AgentOp, { readonly kind: "want-wait" }>): void {
    if (wait.kind === "approval" && !this.addApproval(n, call, wait)) return;
    const dueMs = wait.kind === "timer" ? wait.dueMs : wait.untilMs;
    if (dueMs === undefined || this.timers.has(call) || this.state.timers.has(call)) return;
    this.timers.add(call);
    this.draft.push({ type: "timer.set", call, dueMs });
  }

  /** False when it is refused, or the log has it already. */
  private addApproval(n: number, call: CallName, wait: Extract<AgentWait, { readonly kind: "approval" }>): boolean {
    const { approvals } = this.facts;
    if (approvals.has(call)) return false;
    if (this.asked >= approvals.room) {
      const reason = `the job waits for ${APPROVALS_OPEN_MAX} approvals; ask for this one when others are decided`;
      this.draft.refuse(n, "E_TOO_LARGE", reason);
      return false;
    }
    this.asked += 1;
    const { kind: _kind, ...rest } = wait;
    this.draft.push({ type: "approval.requested", call, ...rest });
    return true;
  }

  private addTaken(offer: number): void {
    const offered = this.state.offers.get(offer);
    if (offered === undefined) return;
    const { what, inbox } = offered;
    this.taken.push(offer);
    if (inbox !== undefined) this.folded.push(inbox);
    switch (what.kind) {
      case "timer":
        return this.addTimer(what.call);
      case "child-detached":
        return this.draft.push({ type: "child.detached", call: what.call, job: what.job });
      case "child-completed":
        return this.draft.push({
          type: "child.completed", call: what.call, output: what.output, ...spentOf(what), ...apart(what),
        });
      case "child-failed":
        return this.draft.push({ type: "child.failed", call: what.call, error: what.error, ...spentOf(what) });
      case "signal":
        return this.draft.push({
          type: "signal.received", call: what.call, signal: what.signal, payload: what.payload, ...apart(what),
        });
      case "decided": {
        const { call, approved, principal, data } = what;
        return this.draft.push({ type: "approval.decided", call, approved, principal, data });
      }
      case "cancel":
        return this.addCancel(what);
      case "resolved":
        return this.calls.resolve(what, inbox);
      default:
        return unreachable(what);
    }
  }

  private addChild(n: number, want: WantChild): void {
    // Since it was cancelled the code does not wait for it any more.
    if (this.draft.cancel.isCancelled || this.draft.children.has(want.call)) return;
    const answer = this.state.childAnswers.get(n);
    if (answer === undefined) return;
    if (answer.kind === "refused") return void this.draft.refused.push({ n, error: answer.error });
    const budget = this.childBudget(n, want, answer);
    if (budget === undefined) return;
    const { call, agent, inputDigest, isDetached, untilMs } = want;
    const job = this.facts.childIdOf(call);
    const { kind: _kind, ...pinned } = answer;
    const limited = Object.keys(budget).length === 0 ? {} : { budget };
    this.childStarts.push({ want, job, ...pinned, ...limited });
    this.draft.push({ type: "child.started", call, job, agent, inputDigest, isDetached, ...limited });
    if (untilMs !== undefined) this.draft.push({ type: "timer.set", call, dueMs: untilMs });
  }

  /**
   * What a child may spend: what is said of it, and else all that is left of each unit that the job's own budget
   * limits. Undefined when it is not started now.
   */
  private childBudget(
    n: number, want: WantChild, { needs = {} }: Extract<ChildAnswer, { readonly kind: "ready" }>,
  ): Amount | undefined {
    const said: Amount = { ...needs.budget, ...want.budget };
    const account = this.draft.spendable;
    if (account === undefined) return said;
    const unsaid = UNITS.filter((unit) => account.limit[unit] !== undefined && said[unit] === undefined);
    if (want.isDetached && unsaid.length > 0) {
      const reason = `the child of the agent "${want.agent}" was not started: nobody hears of what it spends, so say ` +
        `what of the job's budget it gets: ${unsaid.map(unitName).join(", ")}`;
      this.draft.refuse(n, "E_INVALID", reason);
      return undefined;
    }
    const rest = unsaid.map((unit) => [unit, Math.max(1, leftOf(account, unit) ?? 0)] as const);
    const budget: Amount = { ...said, ...Object.fromEntries(rest) };
    return this.draft.isShort({ n, op: want }, budget) ? undefined : budget;
  }

  /** The time for a child is over: nobody waits for it any more. */
  private addTimer(call: CallName): void {
    const child = this.draft.children.get(call);
    if (child !== undefined && !child.isDetached) this.childCancels.add(child.job);
    this.draft.push({ type: "timer.fired", call });
  }

  private cancelChildren(): void {
    for (const job of attachedOf(this.draft.children)) this.childCancels.add(job);
  }

  private addCancel({ principal, reason }: Extract<Offered["what"], { readonly kind: "cancel" }>): void {
    this.cancelChildren();
    this.endStarved();
    this.draft.push({ type: "job.cancel-requested", principal, ...(reason !== undefined && { reason }) });
  }

  /** The code hears of a cancel where it waits; only calls of tools it does not leave. */
  private endStarved(): void {
    this.draft.stepsOpen.clear();
    for (const [n, { op }] of [...this.draft.starved]) {
      if (op.kind === "want-tool" && this.calls.isOpen(op)) continue;
      this.draft.starved.delete(n);
      if (op.kind === "want-tool") this.draft.refuseAsCancelled(n);
    }
  }
}

function spentOf({ spent }: { readonly spent?: Amount }): { readonly spent?: Amount } {
  return spent === undefined ? {} : { spent };
}
