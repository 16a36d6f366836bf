// Owns: one round of control: what a controller says, and what of it may be done.
import type { ClusterController, ControlContext, Decision } from "./advice.ts";
import { decideWithin } from "./bounds.ts";
import type { RuleSet } from "./rules.ts";

/** Decisions about one slice are made from the same facts, so at most one of them changes it. */
export function decide(controller: ClusterController, context: ControlContext, rules: RuleSet): readonly Decision[] {
  const { advice, undecided } = controller.decide(context);
  const scaled = new Set<string>();
  const decisions = advice.flatMap((one) => {
    const decision = scaled.has(one.slice) ? undefined : decideWithin(one, context, rules);
    if (decision?.kind === "scale") scaled.add(one.slice);
    return decision ?? [];
  });
  return [...decisions, ...undecided.map((one): Decision => ({ kind: "undecided", ...one }))];
}
