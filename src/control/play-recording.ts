// Owns: the door of `aether control simulate` and `record`: from texts to what a controller would have decided.
import { MINUTE_MS, SECOND_MS } from "../base/units.ts";
import type { ClusterController } from "./core/advice.ts";
import { DecisionTreeController } from "./core/decision-tree.ts";
import { LayeredController } from "./core/layered.ts";
import { parseAdvice, RecordedAdvice } from "./core/recorded-advice.ts";
import { parseRecording } from "./core/recording.ts";
import { parseRules } from "./core/parse-rules.ts";
import { simulate, type Simulation } from "./core/simulate.ts";

export { isRecorded } from "./core/recording.ts";

/** Where the rules name no model that says how often it is asked. */
const EVERY_MS_DEFAULT = MINUTE_MS;

/**
 * Rules alone or, with `adviceText`, rules and what models say meanwhile.
 * @throws AetherError E_INVALID with the place that is wrong, E_TOO_LARGE
 */
export function playRecording(rulesText: string, recordingText: string, adviceText?: string): Simulation {
  const rules = parseRules(rulesText);
  const recording = parseRecording(recordingText);
  const tree = new DecisionTreeController(rules);
  if (adviceText === undefined) return simulate(tree, rules, recording);
  // As in a cluster: advice counts for two of its intervals.
  const advice = new RecordedAdvice(parseAdvice(adviceText), 2 * (rules.advisors[0]?.every ?? EVERY_MS_DEFAULT));
  const layered = new LayeredController(tree, advice);
  const controller: ClusterController = {
    decide: (context) => {
      advice.moveTo(Math.floor((context.nowMs - recording.fromMs) / SECOND_MS));
      return layered.decide(context);
    },
  };
  return simulate(controller, rules, recording);
}
