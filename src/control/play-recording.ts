// Owns: the door of `aether control simulate`: from two texts to what rules would have decided.
import { DecisionTreeController } from "./core/decision-tree.ts";
import { parseRecording } from "./core/recording.ts";
import { parseRules } from "./core/parse-rules.ts";
import { simulate, type Simulation } from "./core/simulate.ts";

/** @throws AetherError E_INVALID with the place that is wrong, E_TOO_LARGE */
export function playRecording(rulesText: string, recordingText: string): Simulation {
  const rules = parseRules(rulesText);
  return simulate(new DecisionTreeController(rules), rules, parseRecording(recordingText));
}
