// Owns: how long one round of a hundred rules takes: `npx tsx test/bench/control-rules.ts`. Prints, asserts nothing.
import { DecisionTreeController } from "../../src/control/core/decision-tree.ts";
import { parseRules } from "../../src/control/core/parse-rules.ts";
import type { SliceFacts } from "../../src/control/core/advice.ts";
import { RULES_MAX } from "../../src/control/core/rules.ts";

const ROUNDS = 500;
const SLICES = 10;
const POINTS = 600;
const NOW = 10_000_000;

const rules = parseRules(JSON.stringify({
  rules: Array.from({ length: RULES_MAX }, (_, at) => ({
    name: `rule-${at}`,
    slice: `slice-${at % SLICES}`,
    when: `avg(calls_per_second, ${10 + at}s) / instances > 50 and p95(queued, 30s) > ${at} or event_loop > 0.9`,
    do: at % 2 === 0 ? { add: 1 } : { remove: 1 },
  })),
}));
const atMs = Array.from({ length: POINTS }, (_, at) => NOW - (POINTS - 1 - at) * 1_000);
const values = atMs.map((_, at) => 40 + (at % 20));
const slices = new Map(Array.from({ length: SLICES }, (_, at): [string, SliceFacts] => [`slice-${at}`, {
  blueprint: "shop", base: 1, instances: 2, active: 2, minAvailable: 1, isRollingOut: false, pinnedBy: undefined,
  change: undefined,
}]));
const controller = new DecisionTreeController(rules);
const took: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  const startMs = performance.now();
  controller.decide({
    nowMs: NOW, window: { series: () => ({ atMs, values }) }, slices, events: [],
    cluster: { hasQuorum: true, nodes: 3, draining: [], pausedBy: undefined },
  });
  took.push(performance.now() - startMs);
}
took.sort((a, b) => a - b);
const at = (part: number): string => (took[Math.floor(took.length * part)] ?? 0).toFixed(3);
const what = `${RULES_MAX} rules over ${SLICES} slices, ${POINTS} points`;
process.stdout.write(`${what}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms\n`);
