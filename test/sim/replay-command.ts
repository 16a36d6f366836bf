// Owns: the command line that shows a run again, event by event.
import type { PlanOverrides } from "./plan/plan-arbitrary.ts";

export function replayCommand(seed: number, { nodeCount, workload, planted }: PlanOverrides = {}): string {
  const parts = [`npm run sim -- --seed ${seed}`];
  if (nodeCount !== undefined) parts.push(`--nodes ${nodeCount}`);
  if (workload !== undefined) parts.push(`--workload ${workload}`);
  if (planted !== undefined) parts.push(`--planted ${planted}`);
  return `${parts.join(" ")} --trace`;
}
