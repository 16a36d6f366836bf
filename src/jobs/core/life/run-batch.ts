// Owns: what the operations of one run come to: events and rows of the ledger, cut into appends, in the order that the
// worker gave them. Does not own: the appends' transactions (decide.ts), what the code waits for (run-waits.ts).
//
// `plan` changes nothing: only `settle` does, once the plan is in the store. A plan that was refused is made anew.
import { unreachable } from "../../../base/assert.ts";
import type { Digest, JobId } from "../../../base/ids.ts";
import {
  accountAfter, leftOf, NOTHING, ONE_STEP, plus, shortUnit, takenByGrant, UNITS, type Account, type Amount,
} from "../budget/account.ts";
import { shortText, unitName } from "../budget/amounts.ts";
import type { RateTake } from "../flow/call-rates.ts";
import type { EffectId, CallName } from "../ids.ts";
import type { JobNeeds } from "./decide-start.ts";
import { blobOf, type JobEvent } from "../log/event.ts";
import { apart, type BlobRef } from "../payloads/blob.ts";
import type { JobError, JobResult, RestoredPoint } from "../rows.ts";
import {
  applyDoubt, applyGrant, applyLoss, applyOutcome, applyPerson, applyReconcile, effectOf, isOpen, type LedgerPlace,
  type LedgerStep, type ToolGrant,
} from "../tools/ledger.ts";
import { onTakeOver } from "../tools/reconcile.ts";
import type { ToolRow, ToolState } from "../tools/tool-row.ts";
import type { AgentOp, AgentWait } from "../worker/messages.ts";
import { APPROVALS_OPEN_MAX } from "../flow/approval-row.ts";
import {
  attachedOf, CHILDREN_PER_APPEND_MAX, noteChild, type Child, type Children, type ChildStart, type WantChild,
} from "./children.ts";
import type { OpenApprovals } from "./open-approvals.ts";
import type { Offered } from "./run-waits.ts";

/** Events of one append, and calls that it may grant: each is a row beside them. */
export const PLAN_EVENTS_MAX = 64;
const PLAN_TOOLS_MAX = 16;
/** Approvals that it may ask for: two rows each, with 16 KiB that are shown. */
const PLAN_APPROVALS_MAX = 8;
/** Payloads that are stored apart: three rows each. */
const PLAN_BLOBS_MAX = 4;
/** A call that may be made again, and whose outcome nobody ever hears, is a person's matter in the end. */
const GRANTS_MAX = 5;

export type WantTool = Extract<AgentOp, { readonly kind: "want-tool" }>;

/** What is found out before a child is started. */
export type ChildAnswer =
  | { readonly kind: "ready"; readonly pin: Digest; readonly needs?: JobNeeds }
  | { readonly kind: "refused"; readonly error: JobError };

export interface RunFacts {
  readonly epoch: number;
  /** The ledger as it is. */
  readonly tools: readonly ToolRow[];
  /** When the timers that the log has set are due, by their calls. */
  readonly timers: ReadonlyMap<CallName, number>;
  /** Of a job that comes from a backup. */
  readonly restored?: RestoredPoint;
  readonly children: Children;
  /** A cancel is in the log: no child is started any more. */
  readonly isCancelled: boolean;
  /** The first one was that of its deadline. */
  readonly isOverdue?: boolean;
  /** How the job ends then. */
  readonly overdueEnd?: JobResult;
  /** What people are asked; kept up to date by whoever appends. */
  readonly approvals: Pick<OpenApprovals, "has" | "room">;
  /** Whether a payload that an operation names is in the store; all are when absent. */
  isStored?(blob: BlobRef): boolean;
  effectIdOf(call: CallName): EffectId;
  childIdOf(call: CallName): JobId;
  /** Which of these secrets this node does not have; none are missing when absent. */
  missingSecrets?(names: readonly string[]): readonly string[];
  /** What the call has to wait for before it is granted; nothing when absent. */
  ratesOf?(want: WantTool): readonly RateTake[];
}

/** A change that the owner makes by itself. */
export type OwnChange =
  | { readonly kind: "lost"; readonly effectId: EffectId; readonly reason: string }
  /** An entry of the inbox that nobody wants. */
  | { readonly kind: "unwanted"; readonly inbox: number }
  /** It is the turn of a call that has waited for its rate. */
  | { readonly kind: "admitted"; readonly effectId: EffectId }
  /** The job may spend more. */
  | { readonly kind: "raised"; readonly inbox: number; readonly add: Amount; readonly principal: string }
  /** A child has ended that nobody waits for. */
  | { readonly kind: "settled"; readonly inbox: number; readonly call: CallName; readonly spent?: Amount }
  /** A person has let the job go on that was held since a restore. */
  | { readonly kind: "let-go"; readonly inbox: number; readonly principal: string };

export interface Granted {
  readonly n: number;
  readonly row: ToolRow;
  /** Names of the secrets that the call is given. */
  readonly secrets: readonly string[];
}

/** A call whose outcome is to be found out. */
export interface Doubt {
  readonly row: ToolRow;
  readonly want: WantTool;
}

/** A call that waits for its turn. */
export interface Rated {
  readonly effectId: EffectId;
  readonly rates: readonly RateTake[];
}

/** What the job's next run begins with. */
export interface NextRun {
  readonly input: unknown;
  readonly inputDigest: Digest;
  /** Of an input that is stored apart. */
  readonly blob?: BlobRef;
}

type Costly = Extract<AgentOp, { readonly kind: "want-tool" | "want-step" | "want-child" }>;

/** What the job's budget does not suffice for. */
interface Starved {
  readonly op: Costly;
  /** Why, for a person. */
  readonly why: string;
}

/** What can be appended now. */
export interface Plan {
  readonly events: readonly JobEvent[];
  readonly tools: readonly { readonly row: ToolRow; readonly before: ToolState | "none" }[];
  readonly folded: readonly number[];
  /** Operations up to this one are in it. */
  readonly upTo: number;
  readonly changes: number;
  readonly end?: JobResult;
  /** The job begins afresh. */
  readonly next?: NextRun;
  readonly granted: readonly Granted[];
  readonly refused: readonly { readonly n: number; readonly error: JobError }[];
  readonly doubts: readonly Doubt[];
  /** Calls that have to wait for their turn before they are granted. */
  readonly rated: readonly Rated[];
  /** Of a job with a budget, after these events. */
  readonly account: Account | undefined;
  /** By the numbers of their operations: all that waits for more. */
  readonly starved: ReadonlyMap<number, Starved>;
  /** Steps that may be run now, by the numbers of their operations. */
  readonly stepsAllowed: readonly number[];
  /** Steps that may be run and are not in the log. */
  readonly stepsOpen: ReadonlySet<CallName>;
  readonly childStarts: readonly ChildStart[];
  /** Children that are to be cancelled. */
  readonly childCancels: readonly JobId[];
  /** Offers that the worker took. */
  readonly taken: readonly number[];
}

export interface PlanLimits {
  readonly opsMax?: number;
  /** Of a job with a budget, where the log ends. */
  readonly account?: Account | undefined;
  /** `none`: the node is being stopped, and what it granted now it could not wait for. */
  readonly grants?: "any" | "none";
}

interface NumberedOp {
  readonly n: number;
  readonly op: AgentOp;
}

interface Want {
  readonly n: number;
  readonly want: WantTool;
}

export class RunBatch {
  private readonly facts: RunFacts;
  private readonly tools: Map<EffectId, ToolRow>;
  /** Those of `tools` that have no outcome: few, however many calls the job has made. */
  private readonly open: Set<EffectId>;
  private readonly timers: Set<CallName>;
  private readonly wants = new Map<EffectId, Want>();
  private readonly rated = new Set<EffectId>();
  private starved: ReadonlyMap<number, Starved> = new Map();
  private stepsOpen: ReadonlySet<CallName> = new Set();
  private readonly offers = new Map<number, Offered>();
  private ops: NumberedOp[] = [];
  private changes: OwnChange[] = [];
  private readonly children: Map<CallName, Child>;
  private readonly childAnswers = new Map<number, ChildAnswer>();
  private isCancelled: boolean;
  private isOverdue: boolean;
  private settledUpTo = 0;
  private wantedEnd: JobResult | undefined;
  private wantedNext: NextRun | undefined;

  constructor(facts: RunFacts) {
    this.facts = facts;
    this.tools = new Map(facts.tools.map((row) => [row.effectId, row]));
    this.open = new Set(facts.tools.filter(isOpen).map(({ effectId }) => effectId));
    this.timers = new Set(facts.timers.keys());
    this.children = new Map(facts.children);
    this.isCancelled = facts.isCancelled;
    this.isOverdue = facts.isOverdue ?? false;
  }

  /** Number of the last operation that was taken. */
  get last(): number {
    return this.ops.at(-1)?.n ?? this.settledUpTo;
  }

  /** Operations up to this one are in the store. */
  get settled(): number {
    return this.settledUpTo;
  }

  /** Whether everything that was taken is in the store. */
  get isSettled(): boolean {
    return this.ops.length === 0 && this.changes.length === 0;
  }

  /** Whether the code has ended, and only calls that it left behind keep the job. */
  get isEnding(): boolean {
    return this.wantedEnd !== undefined;
  }

  /** Calls that were granted and have no outcome. */
  get underWay(): number {
    return [...this.open].filter((effectId) => this.tools.get(effectId)?.state === "granted").length;
  }

  /** Calls that wait for their turn. */
  get waitingForRate(): number {
    return this.rated.size;
  }

  /** Why calls wait for more budget, each for a person. */
  get shortages(): readonly string[] {
    return [...this.starved.values()].map(({ why }) => why);
  }

  /** False for an operation out of its order: the worker is at fault. */
  take(n: number, op: AgentOp): boolean {
    if (n !== this.last + 1) return false;
    if (op.kind === "want-tool") this.wants.set(this.facts.effectIdOf(op.call), { n, want: op });
    const result = resultOf(op);
    if (result !== undefined) this.end(result);
    if (op.kind === "continued") {
      this.wantedNext = { input: op.input, inputDigest: op.inputDigest, ...apart(op) };
    }
    this.ops.push({ n, op });
    return true;
  }

  /** The job ends, whatever its code still wants, as soon as every call has an outcome. The first end counts. */
  end(result: JobResult): void {
    this.wantedEnd ??= result;
  }

  change(change: OwnChange): void {
    this.changes.push(change);
  }

  /** The child of this call, if the log has it. */
  childOf(call: CallName): Child | undefined {
    return this.children.get(call);
  }

  /** As of what is in the store. */
  get childrenNow(): Children {
    return this.children;
  }

  /** Children that the log has, and those that are wanted before operation `n`. */
  childrenBefore(n: number): number {
    const wanted = this.ops.filter(({ n: other, op }) =>
      op.kind === "want-child" && other < n && !this.children.has(op.call));
    return this.children.size + wanted.length;
  }

  /** Calls for children that nobody has an answer to; what came after them waits. */
  get childrenWanted(): readonly { readonly n: number; readonly want: WantChild }[] {
    const starved = [...this.starved].map(([n, { op }]) => ({ n, op }));
    return [...starved, ...this.ops].flatMap(({ n, op }) =>
      op.kind === "want-child" && !this.children.has(op.call) && !this.childAnswers.has(n) ? [{ n, want: op }] : []);
  }

  /** Whether and how the child that operation `n` wants can be started. */
  answerChild(n: number, answer: ChildAnswer): void {
    this.childAnswers.set(n, answer);
  }

  /** The store did not take the children as they were to be started: they are asked about once more. */
  forgetChildAnswers(): void {
    this.childAnswers.clear();
  }

  offered(offer: number, offered: Offered): void {
    this.offers.set(offer, offered);
  }

  toolOf(effectId: EffectId): ToolRow | undefined {
    return this.tools.get(effectId);
  }

  /** The call with this effect, while nobody knows its outcome and the code waits for it. */
  inDoubt(effectId: EffectId): CallName | undefined {
    return this.tools.get(effectId)?.state === "unknown" ? this.wants.get(effectId)?.want.call : undefined;
  }

  /** The operation that a call was granted for, while it has no outcome. */
  grantOf(effectId: EffectId): Granted | undefined {
    const row = this.tools.get(effectId);
    const want = this.wants.get(effectId);
    return row?.state === "granted" && want !== undefined
      ? { n: want.n, row, secrets: want.want.secrets ?? [] }
      : undefined;
  }

  /** As much as goes into one append after `seq`; undefined when there is nothing, or the end has to wait. */
  plan(seq: number, { opsMax = PLAN_EVENTS_MAX, grants = "any", account }: PlanLimits = {}): Plan | undefined {
    const plan = new PlanMaker(this.facts, { seq, account, starved: this.starved, stepsOpen: this.stepsOpen,
      tools: this.tools, open: this.open, timers: this.timers, offers: this.offers,
      wants: this.wants, rated: this.rated,
      children: this.children, childAnswers: this.childAnswers,
      isCancelled: this.isCancelled, isOverdue: this.isOverdue });
    let changes = 0;
    for (const change of this.changes) {
      if (plan.isFull) break;
      plan.addChange(change);
      changes += 1;
    }
    let upTo = this.settledUpTo;
    for (const { n, op } of this.ops.slice(0, opsMax)) {
      if (plan.isFull || (op.kind === "want-tool" && grants === "none") || plan.isWaitingFor(n, op)) break;
      plan.add(n, op);
      upTo = n;
    }
    if (grants === "any" && this.wantedEnd === undefined) plan.feed();
    const isAll = upTo === this.last && changes === this.changes.length;
    if (isAll && !plan.hasOpenCalls) {
      if (this.wantedEnd !== undefined) return plan.finish(upTo, changes, { end: plan.endOf(this.wantedEnd) });
      if (this.wantedNext !== undefined) return plan.finish(upTo, changes, { next: this.wantedNext });
    }
    const isNothing = changes === 0 && upTo === this.settledUpTo && !plan.hasFed;
    return isNothing ? undefined : plan.finish(upTo, changes);
  }

  /** The plan is in the store. */
  settle({ upTo, changes, tools, events, taken, end, rated, granted, starved, stepsOpen }: Plan): void {
    this.starved = starved;
    this.stepsOpen = stepsOpen;
    if (end !== undefined) this.wantedEnd = undefined;
    this.ops = this.ops.filter(({ n }) => n > upTo);
    this.changes = this.changes.slice(changes);
    this.settledUpTo = upTo;
    for (const { row } of tools) {
      this.tools.set(row.effectId, row);
      if (isOpen(row)) this.open.add(row.effectId);
      else this.open.delete(row.effectId);
    }
    for (const { effectId } of rated) this.rated.add(effectId);
    for (const { row } of granted) this.rated.delete(row.effectId);
    for (const { row } of tools) if (!isOpen(row)) this.wants.delete(row.effectId);
    for (const event of events) if (event.type === "timer.set") this.timers.add(event.call);
    for (const event of events) noteChild(this.children, event);
    for (const event of events) {
      if (event.type !== "job.cancel-requested") continue;
      this.isOverdue ||= !this.isCancelled && event.reason === "deadline";
      this.isCancelled = true;
    }
    for (const n of this.childAnswers.keys()) if (n <= upTo && !starved.has(n)) this.childAnswers.delete(n);
    for (const offer of taken) this.offers.delete(offer);
  }
}

interface PlanState {
  readonly seq: number;
  readonly account: Account | undefined;
  readonly starved: ReadonlyMap<number, Starved>;
  readonly stepsOpen: ReadonlySet<CallName>;
  readonly tools: ReadonlyMap<EffectId, ToolRow>;
  readonly open: ReadonlySet<EffectId>;
  readonly timers: ReadonlySet<CallName>;
  readonly offers: ReadonlyMap<number, Offered>;
  readonly wants: ReadonlyMap<EffectId, Want>;
  readonly rated: ReadonlySet<EffectId>;
  readonly children: Children;
  readonly childAnswers: ReadonlyMap<number, ChildAnswer>;
  readonly isCancelled: boolean;
  readonly isOverdue: boolean;
}

/** One plan in the making, over the state as it is in the store. */
class PlanMaker {
  private readonly facts: RunFacts;
  private readonly state: PlanState;
  private readonly events: JobEvent[] = [];
  private readonly tools = new Map<EffectId, ToolRow>();
  private readonly timers = new Set<CallName>();
  private readonly folded: number[] = [];
  private readonly granted = new Map<EffectId, Granted>();
  private readonly refused: { n: number; error: JobError }[] = [];
  private readonly doubts = new Map<EffectId, Doubt>();
  private readonly rated = new Map<EffectId, Rated>();
  private readonly taken: number[] = [];
  private readonly starved: Map<number, Starved>;
  private readonly stepsAllowed: number[] = [];
  private readonly stepsOpen: Set<CallName>;
  private account: Account | undefined;
  private hasFedAny = false;
  private readonly children: Map<CallName, Child>;
  private readonly childStarts: ChildStart[] = [];
  private readonly childCancels = new Set<JobId>();
  private isCancelled: boolean;
  private isOverdue: boolean;
  /** Approvals that this plan asks for. */
  private asked = 0;
  private blobs = 0;

  constructor(facts: RunFacts, state: PlanState) {
    this.facts = facts;
    this.state = state;
    this.children = new Map(state.children);
    this.isCancelled = state.isCancelled;
    this.isOverdue = state.isOverdue;
    this.account = state.account;
    this.starved = new Map(state.starved);
    this.stepsOpen = new Set(state.stepsOpen);
  }

  /** Something that waited for more budget goes on. */
  get hasFed(): boolean {
    return this.hasFedAny;
  }

  /** What the budget suffices for by now goes on. */
  feed(): void {
    for (const [n, { op }] of [...this.starved]) {
      if (this.isFull) return;
      if (op.kind === "want-child" && !this.state.childAnswers.has(n)) continue;
      this.starved.delete(n);
      if (op.kind === "want-tool") this.consider({ n, want: op });
      else this.add(n, op);
      this.hasFedAny ||= !this.starved.has(n);
    }
  }

  /** An operation makes three events at most; one more is the end of a phase. */
  get isFull(): boolean {
    return this.events.length > PLAN_EVENTS_MAX - 4 || this.tools.size >= PLAN_TOOLS_MAX ||
      this.folded.length >= PLAN_TOOLS_MAX || this.asked >= PLAN_APPROVALS_MAX || this.blobs >= PLAN_BLOBS_MAX ||
      this.childStarts.length >= CHILDREN_PER_APPEND_MAX;
  }

  /**
   * Whether it is not known yet if and how the child can be started that this operation wants, or its payload is not
   * stored yet.
   */
  isWaitingFor(n: number, op: AgentOp): boolean {
    const blob = blobOfOp(op);
    if (blob !== undefined && this.facts.isStored?.(blob) === false) return true;
    return op.kind === "want-child" && !this.isCancelled && !this.children.has(op.call) &&
      !this.state.childAnswers.has(n);
  }

  get hasOpenCalls(): boolean {
    return [...this.state.open, ...this.tools.keys()].some((id) => {
      const row = this.rowOf(id);
      return row !== undefined && isOpen(row);
    });
  }

  /** What asked the job to end first says how it has ended, where its code did nothing else. */
  endOf(wanted: JobResult): JobResult {
    const { overdueEnd } = this.facts;
    return wanted.kind === "cancelled" && this.isOverdue && overdueEnd !== undefined ? overdueEnd : wanted;
  }

  addChange(change: OwnChange): void {
    switch (change.kind) {
      case "lost":
        return this.addLoss(change.effectId, change.reason);
      case "unwanted":
        this.folded.push(change.inbox);
        return;
      case "admitted":
        return this.admit(change.effectId);
      case "raised": {
        const { inbox, add, principal } = change;
        this.folded.push(inbox);
        return this.push({ type: "budget.raised", add, principal });
      }
      case "settled": {
        const { inbox, call, spent } = change;
        this.folded.push(inbox);
        return this.push({ type: "child.settled", call, ...(spent !== undefined && { spent }) });
      }
      case "let-go":
        this.folded.push(change.inbox);
        return this.push({ type: "job.let-go", principal: change.principal });
      default:
        return unreachable(change);
    }
  }

  add(n: number, op: AgentOp): void {
    switch (op.kind) {
      case "step-completed":
        this.stepsOpen.delete(op.call);
        return this.push({ type: "step.completed", call: op.call, value: op.value, ...apart(op) });
      case "step-failed":
        return this.addFailedStep(op);
      case "want-step":
        return this.addWantStep(n, op);
      case "value":
        return this.push({ type: "value.recorded", call: op.call, value: op.value });
      case "took":
        return this.addTaken(op.offer);
      case "want-tool":
        return this.addWant(n, op);
      case "outcome":
        return this.addOutcome(op);
      case "verified":
        return this.push({ type: "tool.verified", call: op.call, verdict: op.verdict, onMismatch: op.onMismatch });
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

  finish(upTo: number, changes: number, how: Pick<Plan, "end" | "next"> = {}): Plan {
    const tools = [...this.tools.values()].map((row) => ({
      row, before: this.state.tools.get(row.effectId)?.state ?? "none" as const,
    }));
    const { events, folded, refused, taken, childStarts } = this;
    if (how.end !== undefined) this.cancelChildren();
    return {
      events, tools, folded, upTo, changes, refused, taken, ...how,
      childStarts, childCancels: [...this.childCancels],
      account: this.account, starved: this.starved, stepsAllowed: this.stepsAllowed, stepsOpen: this.stepsOpen,
      rated: [...this.rated.values()], granted: [...this.granted.values()], doubts: [...this.doubts.values()],
    };
  }

  /** Also what the node refuses of a call is told as a step that failed: nothing was done that would count. */
  private addFailedStep({ call, error }: Extract<AgentOp, { readonly kind: "step-failed" }>): void {
    const isLimited = this.account?.limit.steps !== undefined;
    const isRefusal = !this.stepsOpen.delete(call) && isLimited;
    this.push({ type: "step.failed", call, error, ...(isRefusal && { isRefusal }) });
  }

  private addWantStep(n: number, op: Extract<AgentOp, { readonly kind: "want-step" }>): void {
    if (this.isShort(n, op, ONE_STEP)) return;
    this.stepsOpen.add(op.call);
    this.stepsAllowed.push(n);
  }

  private addWait(n: number, { call, wait }: Extract<AgentOp, { readonly kind: "want-wait" }>): void {
    if (wait.kind === "approval" && !this.addApproval(n, call, wait)) return;
    const dueMs = wait.kind === "timer" ? wait.dueMs : wait.untilMs;
    if (dueMs === undefined || this.timers.has(call) || this.state.timers.has(call)) return;
    this.timers.add(call);
    this.push({ type: "timer.set", call, dueMs });
  }

  /** False when it is refused, or the log has it already. */
  private addApproval(n: number, call: CallName, wait: Extract<AgentWait, { readonly kind: "approval" }>): boolean {
    const { approvals } = this.facts;
    if (approvals.has(call)) return false;
    if (this.asked >= approvals.room) {
      const reason = `the job waits for ${APPROVALS_OPEN_MAX} approvals; ask for this one when others are decided`;
      this.refuse(n, "E_TOO_LARGE", reason);
      return false;
    }
    this.asked += 1;
    const { kind: _kind, ...rest } = wait;
    this.push({ type: "approval.requested", call, ...rest });
    return true;
  }

  private addTaken(offer: number): void {
    const offered = this.state.offers.get(offer);
    if (offered === undefined) return;
    this.taken.push(offer);
    if (offered.inbox !== undefined) this.folded.push(offered.inbox);
    const { what } = offered;
    switch (what.kind) {
      case "timer":
        return this.addTimer(what.call);
      case "child-detached":
        return this.push({ type: "child.detached", call: what.call, job: what.job });
      case "child-completed":
        return this.push({
          type: "child.completed", call: what.call, output: what.output, ...spentOf(what), ...apart(what),
        });
      case "child-failed":
        return this.push({ type: "child.failed", call: what.call, error: what.error, ...spentOf(what) });
      case "signal":
        return this.push({
          type: "signal.received", call: what.call, signal: what.signal, payload: what.payload, ...apart(what),
        });
      case "decided": {
        const { call, approved, principal, data } = what;
        return this.push({ type: "approval.decided", call, approved, principal, data });
      }
      case "cancel":
        return this.addCancel(what);
      case "resolved":
        return this.isOutdated(offered) ? this.doubtAgain(what.effectId) : this.addResolution(what);
      default:
        return unreachable(what);
    }
  }

  private addChild(n: number, want: WantChild): void {
    // Since it was cancelled the code does not wait for it any more.
    if (this.isCancelled || this.children.has(want.call)) return;
    const answer = this.state.childAnswers.get(n);
    if (answer === undefined) return;
    if (answer.kind === "refused") return void this.refused.push({ n, error: answer.error });
    const budget = this.childBudget(n, want, answer);
    if (budget === undefined) return;
    const { call, agent, inputDigest, isDetached, untilMs } = want;
    const job = this.facts.childIdOf(call);
    const { kind: _kind, ...pinned } = answer;
    const limited = Object.keys(budget).length === 0 ? {} : { budget };
    this.childStarts.push({ want, job, ...pinned, ...limited });
    this.push({ type: "child.started", call, job, agent, inputDigest, isDetached, ...limited });
    if (untilMs !== undefined) this.push({ type: "timer.set", call, dueMs: untilMs });
  }

  /**
   * What a child may spend: what is said of it, and else all that is left of each unit that the job's own budget
   * limits. Undefined when it is not started now.
   */
  private childBudget(
    n: number, want: WantChild, { needs = {} }: Extract<ChildAnswer, { readonly kind: "ready" }>,
  ): Amount | undefined {
    const said: Amount = { ...needs.budget, ...want.budget };
    const account = this.spendable;
    if (account === undefined) return said;
    const unsaid = UNITS.filter((unit) => account.limit[unit] !== undefined && said[unit] === undefined);
    if (want.isDetached && unsaid.length > 0) {
      const reason = `the child of the agent "${want.agent}" was not started: nobody hears of what it spends, so say ` +
        `what of the job's budget it gets: ${unsaid.map(unitName).join(", ")}`;
      this.refuse(n, "E_INVALID", reason);
      return undefined;
    }
    const rest = unsaid.map((unit) => [unit, Math.max(1, leftOf(account, unit) ?? 0)] as const);
    const budget: Amount = { ...said, ...Object.fromEntries(rest) };
    return this.isShort(n, want, budget) ? undefined : budget;
  }

  /** With steps that may be run by now as if they were reserved. */
  private get spendable(): Account | undefined {
    const { account, stepsOpen } = this;
    if (account === undefined || stepsOpen.size === 0) return account;
    return { ...account, reserved: plus(account.reserved, { steps: stepsOpen.size }) };
  }

  /** Whether the budget does not suffice: then it waits for more, unless the job is to end. */
  private isShort(n: number, op: Costly, wanted: Amount): boolean {
    const account = this.spendable;
    const unit = account && shortUnit(account, wanted);
    if (account === undefined || unit === undefined) return false;
    if (!this.isCancelled || this.isOpenCall(op)) {
      this.starved.set(n, { op, why: shortText(op.call, wanted, { account, unit }) });
    } else this.refused.push({ n, error: CANCELLED });
    return true;
  }

  private isOpenCall(op: Costly): boolean {
    if (op.kind !== "want-tool") return false;
    const row = this.rowOf(this.facts.effectIdOf(op.call));
    return row !== undefined && isOpen(row);
  }

  /** The code hears of a cancel where it waits; only calls of tools it does not leave. */
  private endStarved(): void {
    this.stepsOpen.clear();
    for (const [n, { op }] of [...this.starved]) {
      if (this.isOpenCall(op)) continue;
      this.starved.delete(n);
      if (op.kind === "want-tool") this.refused.push({ n, error: CANCELLED });
    }
  }

  /** The time for a child is over: nobody waits for it any more. */
  private addTimer(call: CallName): void {
    const child = this.children.get(call);
    if (child !== undefined && !child.isDetached) this.childCancels.add(child.job);
    this.push({ type: "timer.fired", call });
  }

  private cancelChildren(): void {
    for (const job of attachedOf(this.children)) this.childCancels.add(job);
  }

  private addCancel({ principal, reason }: Extract<Offered["what"], { readonly kind: "cancel" }>): void {
    this.cancelChildren();
    this.isOverdue ||= !this.isCancelled && reason === "deadline";
    this.isCancelled = true;
    this.endStarved();
    this.push({ type: "job.cancel-requested", principal, ...(reason !== undefined && { reason }) });
  }

  private addResolution(what: Extract<Offered["what"], { readonly kind: "resolved" }>): void {
    const row = this.rowOf(what.effectId);
    if (row === undefined) return;
    const { resolution, by } = what;
    if (by.kind === "person") return void this.takeStep(applyPerson(row, resolution, by.principal, this.place));
    if (resolution.kind !== "given-up") this.takeStep(applyReconcile(row, resolution, this.place));
  }

  private addWant(n: number, want: WantTool): void {
    const effectId = this.facts.effectIdOf(want.call);
    const found = this.rowOf(effectId);
    // Of an earlier run, whose worker is gone. What follows from it is this want, which is known already.
    if (found?.state === "granted") return this.addLoss(effectId, "the worker that made the call has ended");
    this.consider({ n, want });
  }

  private consider({ n, want }: Want): void {
    const found = this.rowOf(this.facts.effectIdOf(want.call));
    if (found !== undefined && isOpen(found)) return this.settleDoubt(found, { n, want });
    if (this.mayBeLost(found, want)) this.doubt(found, { n, want });
    else this.grant(found, { n, want });
  }

  /** Whether the job may have made the call in a time that the backup it comes from knows nothing of. */
  private mayBeLost(row: ToolRow | undefined, want: WantTool): boolean {
    const { restored } = this.facts;
    if (restored === undefined || effectOf(row, want) !== "once") return false;
    return row === undefined || row.seq <= restored.seq;
  }

  /** A person said "not done" before the backup: the call may have been made since. */
  private isOutdated({ inbox, what }: Offered): boolean {
    const { restored } = this.facts;
    if (restored === undefined || inbox === undefined || inbox > restored.inbox) return false;
    return what.kind === "resolved" && what.resolution.kind === "not-done";
  }

  /** What was said is no answer; the next one is another one's. */
  private doubtAgain(effectId: EffectId): void {
    const want = this.state.wants.get(effectId);
    if (want !== undefined) this.doubt(this.rowOf(effectId), want);
  }

  private admit(effectId: EffectId): void {
    const want = this.state.wants.get(effectId);
    if (want !== undefined && this.state.rated.has(effectId)) this.grantNow(this.rowOf(effectId), want);
  }

  private doubt(row: ToolRow | undefined, { n, want }: Want): void {
    if (this.isTooCostly(row, { n, want })) return;
    const step = applyDoubt(row, this.grantOf(want), this.place);
    if (step.kind === "refused") return this.refuse(n, "E_NONDETERMINISM", step.reason);
    this.takeStep(step);
    this.settleDoubt(step.row, { n, want });
  }

  private settleDoubt(row: ToolRow, { n, want }: Want): void {
    const mayGrant = onTakeOver(row) === "grant-again" && row.attempt < GRANTS_MAX;
    if (mayGrant && this.missingSecrets(want).length === 0) return this.grant(row, { n, want });
    this.doubts.set(row.effectId, { row, want });
  }

  /** Its turn is before the grant: what waits for it has no row. */
  private grant(row: ToolRow | undefined, { n, want }: Want): void {
    if (this.isTooCostly(row, { n, want })) return;
    const rates = this.facts.ratesOf?.(want) ?? [];
    if (rates.length === 0) return this.grantNow(row, { n, want });
    const effectId = this.facts.effectIdOf(want.call);
    if (!this.state.rated.has(effectId)) this.rated.set(effectId, { effectId, rates });
  }

  private grantNow(row: ToolRow | undefined, { n, want }: Want): void {
    const missing = this.missingSecrets(want);
    if (missing.length > 0) return this.refuse(n, "E_CONFIG", missingText(want, missing));
    if (this.isTooCostly(row, { n, want })) return;
    const step = applyGrant(row, this.grantOf(want), this.place);
    if (step.kind === "refused") return this.refuse(n, "E_NONDETERMINISM", step.reason);
    this.takeStep(step);
    this.granted.set(step.row.effectId, { n, row: step.row, secrets: want.secrets ?? [] });
  }

  private grantOf({ kind: _kind, rate: _rate, model: _model, secrets: _secrets, cost, ...rest }: WantTool): ToolGrant {
    const reserved = this.account === undefined || cost === undefined ? {} : { reserved: cost };
    return { ...rest, effectId: this.facts.effectIdOf(rest.call), ...reserved };
  }

  private isTooCostly(row: ToolRow | undefined, { n, want }: Want): boolean {
    const { cost: reserved } = want;
    if (reserved === undefined) return false;
    const effect = effectOf(row, want);
    return this.isShort(n, want, takenByGrant({ effect, reserved }, row?.reserved ?? NOTHING));
  }

  private missingSecrets({ secrets = [] }: WantTool): readonly string[] {
    return secrets.length === 0 ? [] : (this.facts.missingSecrets?.(secrets) ?? []);
  }

  private addOutcome({ effectId, outcome }: Extract<AgentOp, { readonly kind: "outcome" }>): void {
    const row = this.rowOf(effectId);
    // What the ledger refuses it knows better by now.
    if (row !== undefined && this.takeStep(applyOutcome(row, outcome, this.place))) this.look(effectId);
  }

  private addLoss(effectId: EffectId, reason: string): void {
    const row = this.rowOf(effectId);
    if (row !== undefined && this.takeStep(applyLoss(row, reason, this.place))) this.look(effectId);
  }

  /** What is to be done about a call that is in doubt now and that the code waits for. */
  private look(effectId: EffectId): void {
    this.granted.delete(effectId);
    const row = this.rowOf(effectId);
    const want = this.state.wants.get(effectId);
    if (row?.state === "unknown" && want !== undefined) this.settleDoubt(row, want);
  }

  private takeStep(step: LedgerStep): boolean {
    if (step.kind === "refused") return false;
    const { row, event } = step;
    const held = this.rowOf(row.effectId)?.reserved;
    this.tools.set(row.effectId, row);
    this.doubts.delete(row.effectId);
    const want = this.state.wants.get(row.effectId);
    if (want !== undefined && !isOpen(row)) this.starved.delete(want.n);
    this.push(event, held);
    return true;
  }

  private refuse(
    n: number, code: "E_INVALID" | "E_NONDETERMINISM" | "E_CONFIG" | "E_TOO_LARGE", message: string,
  ): void {
    this.refused.push({ n, error: { name: "AetherError", code, message } });
  }

  private push(event: JobEvent, held?: Amount): void {
    this.events.push(event);
    if (blobOf(event) !== undefined) this.blobs += 1;
    const ofChild = "call" in event ? this.children.get(event.call)?.reserved : undefined;
    this.account = accountAfter(this.account, event, held ?? ofChild ?? NOTHING);
    noteChild(this.children, event);
  }

  private rowOf(effectId: EffectId): ToolRow | undefined {
    return this.tools.get(effectId) ?? this.state.tools.get(effectId);
  }

  /** Where the next event stands. */
  private get place(): LedgerPlace {
    return { seq: this.state.seq + this.events.length + 1, epoch: this.facts.epoch };
  }
}

/** As the code hears of a cancel anywhere, see worker/agent-run.ts. */
const CANCELLED: JobError = { name: "JobCancelled", message: "the job was cancelled" };

function spentOf({ spent }: { readonly spent?: Amount }): { readonly spent?: Amount } {
  return spent === undefined ? {} : { spent };
}

function missingText({ call }: WantTool, missing: readonly string[]): string {
  const names = missing.map((name) => `"${name}"`).join(", ");
  return `the call ${call} was not made: the node that runs the job has no secret ${names}; give each of its nodes ` +
    "`secrets: { NAME: { variable: … } }` in its configuration, and the variable in its environment";
}

/** How the code ended, if it did. */
function resultOf(op: AgentOp): JobResult | undefined {
  if (op.kind === "completed") return { kind: "completed", output: op.output, ...apart(op) };
  if (op.kind === "failed") return { kind: "failed", error: op.error };
  return op.kind === "cancelled" ? { kind: "cancelled" } : undefined;
}

/** What an operation says that is stored apart. */
export function blobOfOp(op: AgentOp): BlobRef | undefined {
  if (op.kind === "outcome") return op.outcome.kind === "succeeded" ? op.outcome.blob : undefined;
  return "blob" in op ? op.blob : undefined;
}
