// Owns: the controller of two layers: rules at once, and, for slices about which no rule says anything, what a model
// advised a while ago. Without a model it is the rules alone.
import type { Advice, Advised, ClusterController, ControlContext } from "./advice.ts";

/** What a model said last; nothing once it is too old, or when there is none. */
export interface AdviceSource {
  latest(): Advised;
}

export class LayeredController implements ClusterController {
  private readonly rules: ClusterController;
  private readonly models: AdviceSource;

  constructor(rules: ClusterController, models: AdviceSource) {
    this.rules = rules;
    this.models = models;
  }

  decide(context: ControlContext): Advised {
    const byRules = this.rules.decide(context);
    const byModels = this.models.latest();
    const spoken = new Set(byRules.advice.map(({ slice }) => slice));
    const more: Advice[] = [];
    for (const one of byModels.advice) {
      if (spoken.has(one.slice)) continue;
      spoken.add(one.slice);
      more.push(one);
    }
    return { advice: [...byRules.advice, ...more], undecided: [...byRules.undecided, ...byModels.undecided] };
  }
}
