// Owns: the controller that goes by rules: which of them hold, for how long they have held, and what they want.
// Where rules of one slice want different things the one that wants most instances wins. Instances go only where no
// rule would bring them back at once for the same load; so a steady load leads to no back and forth.
// Does not own: what may be done of it (bounds.ts).
import { SECOND_MS } from "../../base/units.ts";
import type { Advice, Advised, ClusterController, ControlContext, SliceFacts, Undecided } from "./advice.ts";
import { Evaluation, isUnknown, type Value, type WhatIf } from "./evaluate.ts";
import { rangeOf } from "./bounds.ts";
import { mostOf, type Expression } from "./expression.ts";
import { METRICS } from "./metric-window.ts";
import { ANY_SLICE, boundsOf, type Rule, type RuleSet } from "./rules.ts";

/** So much later than what they tell of metrics come. */
const LATE_MS = 2 * SECOND_MS;

export class DecisionTreeController implements ClusterController {
  private readonly rules: RuleSet;
  /** Since when a rule has held for a slice without a break. Patience only: another leader waits anew. */
  private readonly heldSince = new Map<string, number>();

  constructor(rules: RuleSet) {
    this.rules = rules;
  }

  decide(context: ControlContext): Advised {
    const round = new Round(this.rules, this.heldSince, context);
    const undecided: Undecided[] = [];
    const advice = [...context.slices].flatMap(([slice, facts]) => round.adviceFor(slice, facts, undecided) ?? []);
    for (const key of this.heldSince.keys()) if (!round.looked.has(key)) this.heldSince.delete(key);
    return { advice, undecided };
  }
}

/** One look at all slices; lives for one call of `decide`. */
class Round {
  /** Rules by slice that still are; of others nothing is remembered. */
  readonly looked = new Set<string>();
  private readonly rules: RuleSet;
  private readonly heldSince: Map<string, number>;
  private readonly context: ControlContext;
  private readonly evaluation: Evaluation;

  constructor(rules: RuleSet, heldSince: Map<string, number>, context: ControlContext) {
    this.rules = rules;
    this.heldSince = heldSince;
    this.context = context;
    const { nowMs, window, slices, cluster } = context;
    this.evaluation = new Evaluation({ nowMs, window, slices, nodes: cluster.nodes });
  }

  adviceFor(slice: string, facts: SliceFacts, undecided: Undecided[]): Advice | undefined {
    const outside = this.outsideOf(slice, facts);
    if (outside !== undefined) return outside;
    const wishes = this.rulesOf(slice).flatMap((rule) => this.wishOf(rule, slice, facts, undecided) ?? []);
    const [first, ...others] = wishes;
    if (first === undefined) return undefined;
    const most = others.reduce((best, one) => (one.instances > best.instances ? one : best), first);
    return most.instances < facts.instances ? this.lasting(most, slice, facts) : most;
  }

  private rulesOf(slice: string): readonly Rule[] {
    return this.rules.rules.filter((rule) => rule.slice === slice || rule.slice === ANY_SLICE);
  }

  /** A count that nothing asks for any more goes back to the blueprint's; one outside of its bounds goes into them. */
  private outsideOf(slice: string, facts: SliceFacts): Advice | undefined {
    const { instances, base } = facts;
    if (base === 0) return undefined;
    const isGoverned = this.rules.advisors.length > 0 || this.rulesOf(slice).length > 0;
    const isBounded = Object.hasOwn(this.rules.bounds, slice) || Object.hasOwn(this.rules.bounds, ANY_SLICE);
    if (!isGoverned && !isBounded) {
      if (instances === base) return undefined;
      return { slice, instances: base, source: "blueprint", reason: "no rule is about the slice any more" };
    }
    const { min, max } = rangeOf(facts, boundsOf(this.rules, slice));
    if (instances >= min && instances <= max) return undefined;
    const to = Math.min(max, Math.max(min, instances));
    return { slice, instances: to, source: "bounds", reason: `it is to have ${min} to ${max} instances` };
  }

  private wishOf(rule: Rule, slice: string, facts: SliceFacts, undecided: Undecided[]): Advice | undefined {
    const source = `rule ${rule.name}`;
    const key = `${rule.name} ${slice}`;
    this.looked.add(key);
    const holds = this.evaluation.valueOf(rule.when, slice);
    if (isUnknown(holds)) undecided.push({ slice, source, reason: holds.unknown });
    if (holds !== true) {
      this.heldSince.delete(key);
      return undefined;
    }
    const sinceMs = this.heldSince.get(key) ?? this.context.nowMs;
    this.heldSince.set(key, sinceMs);
    if (this.context.nowMs - sinceMs < rule.forMs) return undefined;
    const instances = this.wantedBy(rule, slice, facts.instances);
    if (typeof instances !== "number") {
      if (isUnknown(instances)) undecided.push({ slice, source, reason: instances.unknown });
      return undefined;
    }
    if (instances === facts.instances) return undefined;
    const { text: reason, cooldownMs, min, max } = rule;
    return { slice, instances, source, reason, cooldownMs, min, max };
  }

  private wantedBy({ action }: Rule, slice: string, instances: number, whatIf?: WhatIf): Value {
    switch (action.kind) {
      case "add":
        return instances + action.count;
      case "remove":
        return instances - action.count;
      case "set": {
        const value = this.evaluation.valueOf(action.to, slice, whatIf);
        return typeof value === "number" ? Math.ceil(value) : value;
      }
    }
  }

  /** The most of what is to go that no rule would want back for the same load. */
  private lasting(advice: Advice, slice: string, { instances, change }: SliceFacts): Advice | undefined {
    // What was measured before the last change says nothing about the instances that there are now.
    if (change !== undefined && change.agoMs <= this.settlingMsOf(slice) + LATE_MS) return undefined;
    const { stepDown } = boundsOf(this.rules, slice);
    const least = Math.max(1, advice.instances, instances - stepDown);
    for (let to = least; to < instances; to++) {
      if (!this.isWantedBack(slice, to)) return { ...advice, instances: to };
    }
    return undefined;
  }

  private settlingMsOf(slice: string): number {
    return Math.max(0, ...this.rulesOf(slice).map(({ when }) => mostOf(when, sharedWindowMs)));
  }

  private isWantedBack(slice: string, instances: number): boolean {
    const whatIf = { slice, instances };
    return this.rulesOf(slice).some((rule) => {
      if (rule.action.kind === "remove" || this.evaluation.valueOf(rule.when, slice, whatIf) !== true) return false;
      const wanted = this.wantedBy(rule, slice, instances, whatIf);
      return typeof wanted === "number" && wanted > instances;
    });
  }
}

/** Points of a metric that instances share, from before they came or went, are of another count. */
function sharedWindowMs(leaf: Extract<Expression, { readonly kind: "aggregate" | "forecast" }>): number {
  return leaf.kind === "aggregate" && METRICS[leaf.metric].spread === "shared" ? leaf.windowMs : 0;
}
