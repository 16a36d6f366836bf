// Owns: which labels a job's node must have, of all that ask for some.
import type { Labels } from "../../../cluster/deployment/core/placement.ts";

/** What all of them ask for; undefined when two want different values of one label: no node has both. */
export function joinedLabels(...all: readonly Labels[]): Labels | undefined {
  const joined: Record<string, string> = {};
  for (const [name, value] of all.flatMap((labels) => Object.entries(labels))) {
    if ((joined[name] ?? value) !== value) return undefined;
    joined[name] = value;
  }
  return joined;
}
