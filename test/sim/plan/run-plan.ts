// Owns: one simulated run as plain data: the cluster, what its clients do, what goes wrong. The same plan gives the
// same run, event by event; it is what a failure is shrunk to and what a replay reads.
import { z } from "zod";
import type { LinkProfile } from "../../../src/testkit/sim/sim-network.ts";
import type { PlannedFault } from "../nemesis/faults.ts";
import type { HarnessFault } from "../planted.ts";
import type { ClientScript } from "../workloads/actions.ts";
import type { WatcherScript } from "../workloads/watchers.ts";

export const PLAN_FORMAT = 2;

export interface RunPlan {
  readonly format: typeof PLAN_FORMAT;
  /** Of everything that is not planned: delays, durations of fsyncs, what of a write under way survives. */
  readonly seed: number;
  /** The first voters. */
  readonly nodeCount: number;
  /** Nodes that join them. */
  readonly standbyCount: number;
  readonly windowSlots: number;
  readonly pipelineSlots: number;
  /** The log is cut so soon that nodes which were away need snapshots; and so is the past that watchers read. */
  readonly isLogShort: boolean;
  /** How links behave all the time until healing. */
  readonly links: LinkProfile;
  readonly clients: readonly ClientScript[];
  readonly watchers: readonly WatcherScript[];
  readonly faults: readonly PlannedFault[];
  /** Nodes lead, as the services above the store do. */
  readonly hasLeader: boolean;
  readonly planted?: HarnessFault;
}

const Envelope = z.looseObject({
  format: z.literal(PLAN_FORMAT),
  seed: z.int(),
  nodeCount: z.int().min(1).max(7),
  standbyCount: z.int().min(0).max(3),
  windowSlots: z.int().min(1),
  pipelineSlots: z.int().min(1),
  isLogShort: z.boolean(),
  hasLeader: z.boolean(),
  links: z.looseObject({}),
  clients: z.array(z.looseObject({ steps: z.array(z.looseObject({ waitMs: z.number() })) })),
  watchers: z.array(z.looseObject({ prefix: z.string(), stayMs: z.number() })),
  faults: z.array(z.looseObject({ atMs: z.number(), fault: z.looseObject({ kind: z.string() }) })),
});

/** Reads what `JSON.stringify` made of a plan; undefined for anything else. */
export function parsePlan(text: string): RunPlan | undefined {
  try {
    const found: unknown = JSON.parse(text);
    return Envelope.safeParse(found).success ? (found as RunPlan) : undefined;
  } catch {
    // ignored: text that is no JSON is no plan.
    return undefined;
  }
}
