// Owns: the calls of tools in ONE plan: which are granted, wait for their turn, are in doubt or are refused, and what
// becomes of the ledger. Does not own: what else a plan has (plan-maker.ts), the ledger's rules (tools/ledger.ts).
import { NOTHING, takenByGrant } from "../budget/account.ts";
import type { EffectId } from "../ids.ts";
import type { ToolChange } from "../life/append-batch.ts";
import {
  applyDoubt, applyGrant, applyLoss, applyOutcome, applyPerson, applyReconcile, effectOf, isOpen, type LedgerStep,
  type ToolGrant,
} from "../tools/ledger.ts";
import { onTakeOver } from "../tools/reconcile.ts";
import type { ToolRow } from "../tools/tool-row.ts";
import type { ToolOutcome } from "../worker/messages.ts";
import type { Doubt, Granted, NumberedWant, Plan, PlanState, Rated, RunFacts, WantTool } from "./plan.ts";
import type { PlanDraft } from "./plan-draft.ts";
import type { Offered } from "./run-waits.ts";

/** A call that may be made again, and whose outcome nobody ever hears, is a person's matter in the end. */
const GRANTS_MAX = 5;

/** Somebody knows what became of a call. */
type Resolved = Omit<Extract<Offered["what"], { readonly kind: "resolved" }>, "kind" | "call">;

export class PlanCalls {
  private readonly facts: RunFacts;
  private readonly state: PlanState;
  private readonly draft: PlanDraft;
  private readonly tools = new Map<EffectId, ToolRow>();
  private readonly granted = new Map<EffectId, Granted>();
  private readonly doubts = new Map<EffectId, Doubt>();
  private readonly rated = new Map<EffectId, Rated>();
  private readonly admitted = new Set<EffectId>();

  constructor(facts: RunFacts, state: PlanState, draft: PlanDraft) {
    this.facts = facts;
    this.state = state;
    this.draft = draft;
  }

  /** Rows of the ledger that the plan changes. */
  get changed(): number {
    return this.tools.size;
  }

  /** Whether a call has no outcome yet. */
  get hasOpen(): boolean {
    return [...this.state.open, ...this.tools.keys()].some((effectId) => {
      const row = this.rowOf(effectId);
      return row !== undefined && isOpen(row);
    });
  }

  isOpen({ call }: WantTool): boolean {
    const row = this.rowOf(this.facts.effectIdOf(call));
    return row !== undefined && isOpen(row);
  }

  /** What all of it comes to. */
  get parts(): Pick<Plan, "tools" | "granted" | "doubts" | "rated" | "admitted"> {
    const tools = [...this.tools.values()].map((row): ToolChange => ({
      row, before: this.state.tools.get(row.effectId)?.state ?? "none",
    }));
    return {
      tools, granted: [...this.granted.values()], doubts: [...this.doubts.values()], rated: [...this.rated.values()],
      admitted: this.admitted,
    };
  }

  want({ n, want }: NumberedWant): void {
    const effectId = this.facts.effectIdOf(want.call);
    const found = this.rowOf(effectId);
    // Of an earlier run, whose worker is gone. What follows from it is this want, which is known already.
    if (found?.state === "granted") return this.lose(effectId, "the worker that made the call has ended");
    this.consider({ n, want });
  }

  /** Also of one that has waited for more budget. */
  consider({ n, want }: NumberedWant): void {
    const found = this.rowOf(this.facts.effectIdOf(want.call));
    if (found !== undefined && isOpen(found)) return this.settleDoubt(found, { n, want });
    if (this.state.isEnding) return;
    if (this.mayBeLost(found, want)) this.doubt(found, { n, want });
    else this.grant(found, { n, want });
  }

  /** It is the call's turn. */
  admit(effectId: EffectId): void {
    if (!this.state.rated.has(effectId)) return;
    this.admitted.add(effectId);
    const want = this.state.wants.get(effectId);
    if (want === undefined || (this.state.isEnding && !this.isOpen(want.want))) return;
    this.grantNow(this.rowOf(effectId), want);
  }

  takeOutcome(effectId: EffectId, outcome: ToolOutcome): void {
    const row = this.rowOf(effectId);
    // What the ledger refuses it knows better by now.
    if (row !== undefined && this.takeStep(applyOutcome(row, outcome, this.draft.place))) this.look(effectId);
  }

  lose(effectId: EffectId, reason: string): void {
    const row = this.rowOf(effectId);
    if (row !== undefined && this.takeStep(applyLoss(row, reason, this.draft.place))) this.look(effectId);
  }

  /** `inbox`: of what a person said. */
  resolve(what: Resolved, inbox: number | undefined): void {
    if (this.isOutdated(what, inbox)) return this.doubtAgain(what.effectId);
    const row = this.rowOf(what.effectId);
    if (row === undefined) return;
    const { resolution, by } = what;
    const { place } = this.draft;
    if (by.kind === "person") return void this.takeStep(applyPerson(row, resolution, by.principal, place));
    if (resolution.kind !== "given-up") this.takeStep(applyReconcile(row, resolution, place));
  }

  /** Whether the job may have made the call in a time that the backup it comes from knows nothing of. */
  private mayBeLost(row: ToolRow | undefined, want: WantTool): boolean {
    const { restored } = this.facts;
    if (restored === undefined || effectOf(row, want) !== "once") return false;
    return row === undefined || row.seq <= restored.seq;
  }

  /** A person said "not done" before the backup: the call may have been made since. */
  private isOutdated({ resolution }: Resolved, inbox: number | undefined): boolean {
    const { restored } = this.facts;
    if (restored === undefined || inbox === undefined || inbox > restored.inbox) return false;
    return resolution.kind === "not-done";
  }

  /** What was said is no answer; the next one is another one's. */
  private doubtAgain(effectId: EffectId): void {
    const want = this.state.wants.get(effectId);
    if (want !== undefined) this.doubt(this.rowOf(effectId), want);
  }

  private doubt(row: ToolRow | undefined, { n, want }: NumberedWant): void {
    if (this.isTooCostly(row, { n, want })) return;
    const step = applyDoubt(row, this.grantOf(want), this.draft.place);
    if (step.kind === "refused") return this.draft.refuse(n, "E_NONDETERMINISM", step.reason);
    this.takeStep(step);
    this.settleDoubt(step.row, { n, want });
  }

  private settleDoubt(row: ToolRow, { n, want }: NumberedWant): void {
    const mayGrant = onTakeOver(row) === "grant-again" && row.attempt < GRANTS_MAX;
    if (mayGrant && this.missingSecrets(want).length === 0) return this.grant(row, { n, want });
    this.doubts.set(row.effectId, { row, want });
  }

  /** Its turn is before the grant: what waits for it has no row. */
  private grant(row: ToolRow | undefined, { n, want }: NumberedWant): void {
    if (this.isTooCostly(row, { n, want })) return;
    const rates = this.facts.ratesOf?.(want) ?? [];
    const limit = this.facts.callLimitOf?.(want);
    if (rates.length === 0 && limit === undefined) return this.grantNow(row, { n, want });
    const effectId = this.facts.effectIdOf(want.call);
    const isWaiting = this.state.rated.has(effectId) && !this.admitted.has(effectId);
    if (!isWaiting) this.rated.set(effectId, { effectId, rates, ...(limit !== undefined && { limit }) });
  }

  private grantNow(row: ToolRow | undefined, { n, want }: NumberedWant): void {
    const missing = this.missingSecrets(want);
    if (missing.length > 0) return this.draft.refuse(n, "E_CONFIG", missingText(want, missing));
    if (this.isTooCostly(row, { n, want })) return;
    const step = applyGrant(row, this.grantOf(want), this.draft.place);
    if (step.kind === "refused") return this.draft.refuse(n, "E_NONDETERMINISM", step.reason);
    this.takeStep(step);
    this.granted.set(step.row.effectId, { n, row: step.row, secrets: want.secrets ?? [] });
  }

  private grantOf(
    { kind: _kind, rate: _rate, maxConcurrent: _max, model: _model, secrets: _secrets, cost, ...rest }: WantTool,
  ): ToolGrant {
    const reserved = this.draft.account === undefined || cost === undefined ? {} : { reserved: cost };
    return { ...rest, effectId: this.facts.effectIdOf(rest.call), ...reserved };
  }

  private isTooCostly(row: ToolRow | undefined, { n, want }: NumberedWant): boolean {
    const { cost: reserved } = want;
    if (reserved === undefined) return false;
    const effect = effectOf(row, want);
    return this.draft.isShort({ n, op: want }, takenByGrant({ effect, reserved }, row?.reserved ?? NOTHING), row);
  }

  private missingSecrets({ secrets = [] }: WantTool): readonly string[] {
    return secrets.length === 0 ? [] : (this.facts.missingSecrets?.(secrets) ?? []);
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
    if (want !== undefined && !isOpen(row)) this.draft.starved.delete(want.n);
    this.draft.push(event, held);
    return true;
  }

  private rowOf(effectId: EffectId): ToolRow | undefined {
    return this.tools.get(effectId) ?? this.state.tools.get(effectId);
  }
}

function missingText({ call }: WantTool, missing: readonly string[]): string {
  const names = missing.map((name) => `"${name}"`).join(", ");
  return `the call ${call} was not made: the node that runs the job has no secret ${names}; give each of its nodes ` +
    "`secrets: { NAME: { variable: … } }` in its configuration, and the variable in its environment";
}
