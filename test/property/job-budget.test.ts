// Budgets under any order of calls, outcomes, steps, children, raises and crashes: what is reserved and spent is never
// more than the limit, the head has what the log says, and nothing stays reserved for what is over.
import fc from "fast-check";
import { expect, test } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { parseJobId } from "../../src/base/ids.ts";
import { AccountFold, openAccount, UNITS, type Account, type Amount } from "../../src/jobs/core/budget/account.ts";
import { LedgerFold } from "../../src/jobs/core/explain/ledger-fold.ts";
import type { CallName, EffectId } from "../../src/jobs/core/ids.ts";
import { logFactsOf } from "../../src/jobs/core/run/log-facts.ts";
import type { Plan } from "../../src/jobs/core/run/plan.ts";
import { RunBatch } from "../../src/jobs/core/run/run-batch.ts";
import { encodeEvent, type JobEvent, type ToolEffect } from "../../src/jobs/core/log/event.ts";
import { isOpen } from "../../src/jobs/core/tools/ledger.ts";
import type { ToolRow } from "../../src/jobs/core/tools/tool-row.ts";
import type { AgentOp } from "../../src/jobs/core/worker/messages.ts";

const PIN = sha256("pin");

type Command =
  | { readonly kind: "tool"; readonly call: number; readonly effect: ToolEffect; readonly cost: Amount }
  | {
    readonly kind: "outcome";
    readonly call: number;
    /** `charged`: it threw, and may have cost something all the same. */
    readonly how: "done" | "threw" | "charged" | "unknown";
    readonly part: number;
  }
  | { readonly kind: "resolve"; readonly call: number; readonly isDone: boolean }
  | { readonly kind: "step"; readonly call: number }
  | { readonly kind: "stepped"; readonly call: number; readonly hasFailed: boolean }
  | { readonly kind: "child"; readonly call: number; readonly budget: Amount; readonly isDetached: boolean }
  | { readonly kind: "child-end"; readonly call: number; readonly part: number; readonly isWanted: boolean }
  | { readonly kind: "raise"; readonly add: Amount }
  | { readonly kind: "cancel" }
  | { readonly kind: "crash" };

function callOf(kind: string, number: number): CallName {
  return `/${kind}#${number}` as CallName;
}

/** A job whose code wants what the commands say, over owners that die. */
class World {
  readonly log: JobEvent[] = [];
  account: Account;
  private readonly rows = new Map<EffectId, ToolRow>();
  private readonly wants = new Map<CallName, AgentOp>();
  private readonly over = new Set<CallName>();
  private stepsAllowed = new Map<number, CallName>();
  private readonly ready = new Set<CallName>();
  private batch: RunBatch;
  private epoch = 1;
  private offer = 0;
  private inbox = 0;
  private isCancelled = false;

  constructor(budget: Amount) {
    this.account = openAccount(budget);
    this.log.push({ type: "job.created", agent: "a", pin: PIN, inputDigest: PIN, budget });
    this.batch = this.open();
  }

  /** Calls had to wait. */
  wasShort = false;

  private open(): RunBatch {
    const bytes = this.log.map((event) => encodeEvent(event, { atMs: 1, epoch: 1 }));
    return new RunBatch({
      epoch: this.epoch, tools: [...this.rows.values()], ...logFactsOf(bytes),
      effectIdOf: (call) => sha256(call), childIdOf: (call) => parseJobId(`child-${sha256(call).slice(0, 8)}`),
    });
  }

  play(command: Command): void {
    switch (command.kind) {
      case "tool": {
        const { effect, cost } = command;
        const call = callOf("tool", command.call);
        return this.want({
          kind: "want-tool", call, tool: "pay", effect, canReconcile: false, input: 1, inputDigest: PIN,
          timeoutMs: 1, cost,
        });
      }
      case "outcome":
        return this.end(callOf("tool", command.call), command);
      case "resolve": {
        const call = callOf("tool", command.call);
        if (this.batch.inDoubt(sha256(call)) === undefined) return;
        const resolution = command.isDone ? { kind: "done", result: 1 } as const : { kind: "not-done" } as const;
        const by = { kind: "person", principal: "p" } as const;
        this.take({ kind: "resolved", call, effectId: sha256(call), resolution, by });
        if (command.isDone) this.close(call);
        else this.retake(call);
        return;
      }
      case "step":
        return this.want({ kind: "want-step", call: callOf("step", command.call) });
      case "stepped": {
        const call = callOf("step", command.call);
        if (!this.ready.delete(call)) return;
        this.close(call);
        return this.say(command.hasFailed
          ? { kind: "step-failed", call, error: { name: "Error", message: "" } }
          : { kind: "step-completed", call, value: 1 });
      }
      case "child": {
        const { budget, isDetached } = command;
        const call = callOf("child", command.call);
        return this.want({ kind: "want-child", call, agent: "b", input: 1, inputDigest: PIN, isDetached, budget });
      }
      case "child-end":
        return this.endChild(callOf("child", command.call), command);
      case "raise":
        this.batch.change({ kind: "raised", inbox: ++this.inbox, add: command.add, principal: "p" });
        return this.pump();
      case "cancel":
        if (this.isCancelled) return;
        this.isCancelled = true;
        return this.take({ kind: "cancel", principal: "p" });
      case "crash":
        this.epoch += 1;
        this.batch = this.open();
        this.ready.clear();
        this.stepsAllowed = new Map();
        for (const op of this.wants.values()) this.say(op);
        return;
    }
  }

  private want(op: Extract<AgentOp, { readonly call: CallName }>): void {
    if (this.wants.has(op.call) || this.over.has(op.call)) return;
    this.wants.set(op.call, op);
    this.say(op);
  }

  private retake(call: CallName): void {
    const op = this.wants.get(call);
    if (op !== undefined) this.say(op);
  }

  private close(call: CallName): void {
    this.wants.delete(call);
    this.over.add(call);
  }

  private end(call: CallName, { how, part }: { readonly how: string; readonly part: number }): void {
    const row = this.rows.get(sha256(call));
    if (row?.state !== "granted" || row.epoch !== this.epoch) return;
    const effectId = row.effectId;
    const lost = { kind: "unknown", reason: "" } as const;
    if (how === "unknown") return this.say({ kind: "outcome", call, effectId, outcome: lost });
    this.close(call);
    const error = { name: "Error", message: "" };
    const cost = partOf(row.reserved ?? {}, part);
    this.say({
      kind: "outcome", call, effectId,
      outcome: how === "done"
        ? { kind: "succeeded", result: 1, cost }
        : { kind: "failed", error, isNotDone: true, ...(how === "charged" && { cost }) },
    });
  }

  private endChild(call: CallName, { part, isWanted }: { readonly part: number; readonly isWanted: boolean }): void {
    const child = this.batch.childOf(call);
    if (child?.reserved === undefined || child.isDetached) return;
    this.close(call);
    const spent = partOf(child.reserved, part);
    if (isWanted) return this.take({ kind: "child-completed", call, output: 1, spent });
    this.batch.change({ kind: "settled", inbox: ++this.inbox, call, spent });
    this.pump();
  }

  private take(what: Parameters<RunBatch["offered"]>[1]["what"]): void {
    const offer = ++this.offer;
    this.batch.offered(offer, { inbox: ++this.inbox, what });
    this.say({ kind: "took", offer });
  }

  private say(op: AgentOp): void {
    const n = this.batch.last + 1;
    expect(this.batch.take(n, op)).toBe(true);
    if (op.kind === "want-step") this.stepsAllowed.set(n, op.call);
    this.pump();
  }

  private pump(): void {
    for (let round = 0; round < 50; round++) {
      for (const { n } of this.batch.childrenWanted) this.batch.answerChild(n, { kind: "ready", pin: PIN });
      const plan = this.batch.plan(this.log.length, { account: this.account });
      if (plan === undefined) return;
      this.commit(plan);
    }
    throw new RangeError("it never rests");
  }

  private commit(plan: Plan): void {
    this.log.push(...plan.events);
    this.account = plan.account ?? this.account;
    for (const { row } of plan.tools) this.rows.set(row.effectId, row);
    this.batch.settle(plan);
    this.wasShort ||= this.batch.shortages.length > 0;
    for (const n of plan.stepsAllowed) {
      const call = this.stepsAllowed.get(n);
      if (call !== undefined) this.ready.add(call);
    }
    this.check();
  }

  private check(): void {
    const { limit, reserved, spent } = this.account;
    for (const unit of UNITS) {
      const most = limit[unit] ?? Number.POSITIVE_INFINITY;
      expect((reserved[unit] ?? 0) + (spent[unit] ?? 0)).toBeLessThanOrEqual(most);
    }
    const fold = new AccountFold();
    for (const event of this.log) fold.add(event);
    expect(fold.account).toEqual(this.account);
    this.checkReserved();
  }

  /** By calls and children that are not over, and by nothing else. */
  private checkReserved(): void {
    const ledger = new LedgerFold();
    this.log.forEach((event, index) => ledger.add(event, { seq: index + 1, epoch: 1 }));
    const children = logFactsOf(this.log.map((event) => encodeEvent(event, { atMs: 1, epoch: 1 }))).children;
    const open = [...[...this.rows.values()].filter(isOpen), ...children.values()];
    for (const unit of UNITS) {
      const sum = open.reduce((total, one) => total + (one.reserved?.[unit] ?? 0), 0);
      expect(this.account.reserved[unit] ?? 0).toBe(sum);
    }
    for (const row of this.rows.values()) {
      expect(ledger.rowAs(row)?.reserved).toEqual(row.reserved);
      expect(ledger.rowAs(row)?.cost).toEqual(row.cost);
    }
  }
}

function partOf(amount: Amount, part: number): Amount {
  return Object.fromEntries(UNITS.flatMap((unit) => {
    const whole = amount[unit];
    return whole === undefined ? [] : [[unit, Math.floor(whole * part)]];
  }));
}

const amount = fc.record({
  usdMicros: fc.integer({ min: 0, max: 50 }), tokens: fc.integer({ min: 0, max: 50 }),
}, { requiredKeys: [] });
const childAmount = fc.record({
  usdMicros: fc.integer({ min: 0, max: 50 }), tokens: fc.integer({ min: 0, max: 50 }),
  steps: fc.integer({ min: 0, max: 1 }),
});
const call = fc.integer({ min: 1, max: 4 });
const childCall = fc.integer({ min: 1, max: 2 });
const part = fc.constantFrom(0, 0.3, 1);
const command = fc.oneof(
  { weight: 12, arbitrary: fc.record({
    kind: fc.constant("tool" as const), call, cost: amount, 
    effect: fc.constantFrom("read" as const, "idempotent" as const, "once" as const),
  }) },
  { weight: 12, arbitrary: fc.record({
    kind: fc.constant("outcome" as const), call, part,
    how: fc.constantFrom("done" as const, "threw" as const, "charged" as const, "unknown" as const),
  }) },
  fc.record({ kind: fc.constant("resolve" as const), call, isDone: fc.boolean() }),
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("step" as const), call }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("stepped" as const), call, hasFailed: fc.boolean() }) },
  { weight: 8, arbitrary: fc.record({
    kind: fc.constant("child" as const), call: childCall, budget: childAmount, isDetached: fc.boolean(),
  }) },
  { weight: 8, arbitrary: fc.record({
    kind: fc.constant("child-end" as const), call: childCall, part, isWanted: fc.boolean(),
  }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("raise" as const), add: amount }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("crash" as const) }) },
  fc.record({ kind: fc.constant("cancel" as const) }),
);
const limit = fc.record({
  usdMicros: fc.integer({ min: 0, max: 120 }), tokens: fc.integer({ min: 0, max: 120 }),
  steps: fc.integer({ min: 0, max: 3 }),
}, { requiredKeys: [] });

test("what is reserved and spent is never more than the limit, and is what the log says (JOB16)", () => {
  const reached = { short: 0, raised: 0, settled: 0 };
  fc.assert(fc.property(limit, fc.array(command, { minLength: 5, maxLength: 40 }), (budget, commands) => {
    const world = new World(budget);
    for (const one of commands) world.play(one);
    reached.raised += world.log.filter(({ type }) => type === "budget.raised").length;
    reached.settled += world.log.filter(({ type }) => type === "child.settled").length;
    reached.short += world.wasShort ? 1 : 0;
  }), { numRuns: 400 });
  for (const count of Object.values(reached)) expect(count).toBeGreaterThan(5);
});
