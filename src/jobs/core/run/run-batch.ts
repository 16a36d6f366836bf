// Owns: what the code of one run has said, and its owner found by itself, in the order in which it came, until it is in
// the store. Does not own: what of it goes into an append (plan-maker.ts), the appends' transactions (life/decide.ts),
// what the code waits for (run-waits.ts).
//
// `plan` changes nothing: only `settle` does, once the plan is in the store. A plan that was refused is made anew.
import type { Account } from "../budget/account.ts";
import type { CallName, EffectId } from "../ids.ts";
import { noteChild, type Child, type Children, type WantChild } from "../life/children.ts";
import type { NextRun } from "../life/decide-continue.ts";
import { cancelAfter, type CancelFacts } from "../life/deadline.ts";
import { apart } from "../payloads/blob.ts";
import type { JobResult } from "../rows.ts";
import { isOpen } from "../tools/ledger.ts";
import type { ToolRow } from "../tools/tool-row.ts";
import type { AgentOp } from "../worker/messages.ts";
import { blobOfOp } from "../worker/op-payload.ts";
import { PLAN_EVENTS_MAX, PlanMaker } from "./plan-maker.ts";
import type { ChildAnswer, Granted, NumberedWant, OwnChange, Plan, RunFacts, Starved } from "./plan.ts";
import type { Offered } from "./run-waits.ts";

export interface PlanLimits {
  /** Of the code's operations, and of what its owner found. */
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

export class RunBatch {
  private readonly facts: RunFacts;
  private readonly tools: Map<EffectId, ToolRow>;
  /** Those of `tools` that have no outcome: few, however many calls the job has made. */
  private readonly open: Set<EffectId>;
  private readonly timers: Set<CallName>;
  private readonly wants = new Map<EffectId, NumberedWant>();
  private readonly rated = new Set<EffectId>();
  private starved: ReadonlyMap<number, Starved> = new Map();
  private stepsOpen: ReadonlySet<CallName> = new Set();
  private readonly offers = new Map<number, Offered>();
  private ops: NumberedOp[] = [];
  private changes: OwnChange[] = [];
  private readonly children: Map<CallName, Child>;
  private readonly childAnswers = new Map<number, ChildAnswer>();
  private cancel: CancelFacts;
  private settledUpTo = 0;
  private lastTaken = 0;
  private wantedEnd: JobResult | undefined;
  private wantedNext: NextRun | undefined;

  constructor(facts: RunFacts) {
    this.facts = facts;
    this.tools = new Map(facts.tools.map((row) => [row.effectId, row]));
    this.open = new Set(facts.tools.filter(isOpen).map(({ effectId }) => effectId));
    this.timers = new Set(facts.timers.keys());
    this.children = new Map(facts.children);
    this.cancel = { isCancelled: facts.isCancelled, isOverdue: facts.isOverdue ?? false };
  }

  /** Number of the last operation that was taken. */
  get last(): number {
    return this.lastTaken;
  }

  /** Operations up to this one are in the store. */
  get settled(): number {
    return this.settledUpTo;
  }

  /** Whether everything that was taken is in the store. */
  get isSettled(): boolean {
    return this.ops.length === 0 && this.changes.length === 0;
  }

  /** Whether what comes next, or what the code was given later, is there and has to be stored apart first. */
  get isStoring(): boolean {
    return this.ops.some(({ op }, at) => {
      const blob = at === 0 || isGiven(op) ? blobOfOp(op) : undefined;
      return blob !== undefined && this.facts.isStored?.(blob) === false;
    });
  }

  /** Whether the code has ended, and only calls that it left behind keep the job. */
  get isEnding(): boolean {
    return this.wantedEnd !== undefined;
  }

  /** Calls that were granted here and have no outcome: nobody waits for what an earlier owner has granted. */
  get underWay(): number {
    return [...this.open].filter((effectId) => {
      const row = this.tools.get(effectId);
      return row?.state === "granted" && row.epoch === this.facts.epoch;
    }).length;
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
    this.lastTaken = n;
    return true;
  }

  /** The job ends, whatever its code still wants, as soon as every call has an outcome. The first end counts. */
  end(result: JobResult): void {
    this.wantedEnd ??= result;
  }

  change(change: OwnChange): void {
    this.changes.push(change);
  }

  /**
   * Nothing runs the code any more, so it wants nothing. Calls that were granted, whoever did it, are lost: nobody else
   * would ever say of them that their outcome is to be found out. False when there are none.
   */
  abandonCalls(reason: string): boolean {
    this.wants.clear();
    this.starved = new Map();
    const granted = [...this.open].filter((effectId) => this.tools.get(effectId)?.state === "granted");
    for (const effectId of granted) this.change({ kind: "lost", effectId, reason });
    return granted.length > 0;
  }

  /** What is left cannot be recorded: it waits for more from code that is gone. Another run does it again. */
  forgetRest(): void {
    this.ops = [];
  }

  /** The log has no room for what the code does; what became of its calls is noted. False when there is no more. */
  forgetWork(): boolean {
    const before = this.ops.length;
    this.ops = this.ops.filter(({ op }) => op.kind === "outcome");
    return this.ops.length < before;
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

  /** The operation that a call was granted for, while it has no outcome and is not being given up. */
  grantOf(effectId: EffectId): Granted | undefined {
    const row = this.tools.get(effectId);
    const want = this.wants.get(effectId);
    if (this.changes.some((change) => change.kind === "lost" && change.effectId === effectId)) return undefined;
    return row?.state === "granted" && want !== undefined
      ? { n: want.n, row, secrets: want.want.secrets ?? [] }
      : undefined;
  }

  /** As much as goes into one append after `seq`; undefined when there is nothing, or the end has to wait. */
  plan(seq: number, { opsMax = PLAN_EVENTS_MAX, grants = "any", account }: PlanLimits = {}): Plan | undefined {
    if (this.wantsNothing) return undefined;
    const { starved, stepsOpen, tools, open, timers, offers, wants, rated, children, childAnswers, cancel } = this;
    const plan = new PlanMaker(this.facts, {
      seq, account, starved, stepsOpen, tools, open, timers, offers, wants, rated, children, childAnswers, cancel,
      isEnding: this.isEnding,
    });
    let changes = 0;
    for (const change of this.changes) {
      if (plan.isFull || changes >= opsMax) break;
      plan.addChange(change);
      changes += 1;
    }
    const added = new Set<number>();
    let isHeldUp = false;
    for (const { n, op } of this.ops) {
      if (plan.isFull || added.size >= opsMax) break;
      const isWaiting = plan.isWaitingFor(n, op);
      // What the code was given is noted whatever it wanted before, in the order in which it was given: nothing of it
      // passes another. So are its waits, which what it was given may have ended.
      isHeldUp ||= grants === "none" && (op.kind === "want-tool" || (isWaiting && !isGiven(op)));
      if (isHeldUp && !isGiven(op) && op.kind !== "want-wait") continue;
      if (isWaiting || (isHeldUp && this.isCancel(op))) break;
      plan.add(n, op);
      added.add(n);
    }
    const next = this.ops.find(({ n }) => !added.has(n));
    const upTo = next === undefined ? this.last : next.n - 1;
    const ahead = [...added].filter((n) => n > upTo);
    if (grants === "any") plan.feed();
    const isAll = upTo === this.last && changes === this.changes.length;
    if (isAll && !plan.hasOpenCalls) {
      if (this.wantedEnd !== undefined) return plan.finish(upTo, changes, { end: plan.endOf(this.wantedEnd) });
      if (this.wantedNext !== undefined) return plan.finish(upTo, changes, { next: this.wantedNext });
    }
    const isNothing = changes === 0 && upTo === this.settledUpTo && ahead.length === 0 && !plan.hasFed;
    return isNothing ? undefined : plan.finish(upTo, changes, { ahead });
  }

  /** As it is after every append, until the code says more. */
  private get wantsNothing(): boolean {
    return this.isSettled && this.last === this.settledUpTo && this.starved.size === 0 &&
      this.wantedEnd === undefined && this.wantedNext === undefined;
  }

  /** What the code wanted before it was told to end may go out; afterwards nothing may. */
  private isCancel(op: AgentOp): boolean {
    return op.kind === "took" && this.offers.get(op.offer)?.what.kind === "cancel";
  }

  /** The plan is in the store. */
  settle({ upTo, ahead, changes, tools, events, taken, end, rated, admitted, starved, stepsOpen }: Plan): void {
    this.starved = starved;
    this.stepsOpen = stepsOpen;
    if (end !== undefined) this.wantedEnd = undefined;
    this.ops = this.ops.filter(({ n }) => n > upTo && !ahead.includes(n));
    this.changes = this.changes.slice(changes);
    this.settledUpTo = upTo;
    for (const { row } of tools) {
      this.tools.set(row.effectId, row);
      if (isOpen(row)) this.open.add(row.effectId);
      else this.open.delete(row.effectId);
    }
    for (const effectId of admitted) this.rated.delete(effectId);
    for (const { effectId } of rated) this.rated.add(effectId);
    for (const { row } of tools) if (!isOpen(row)) this.wants.delete(row.effectId);
    for (const event of events) {
      if (event.type === "timer.set") this.timers.add(event.call);
      noteChild(this.children, event);
      this.cancel = cancelAfter(this.cancel, event);
    }
    for (const n of this.childAnswers.keys()) if (n <= upTo && !starved.has(n)) this.childAnswers.delete(n);
    for (const offer of taken) this.offers.delete(offer);
  }
}

/** What the code has been given; the other operations are what it wants. */
function isGiven({ kind }: AgentOp): boolean {
  return kind === "step-completed" || kind === "step-failed" || kind === "value" || kind === "took" ||
    kind === "outcome" || kind === "verified";
}

/** How the code ended, if it did. */
function resultOf(op: AgentOp): JobResult | undefined {
  if (op.kind === "completed") return { kind: "completed", output: op.output, ...apart(op) };
  if (op.kind === "failed") return { kind: "failed", error: op.error };
  return op.kind === "cancelled" ? { kind: "cancelled" } : undefined;
}
