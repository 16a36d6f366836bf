// Owns: what a run of the demo can be told.

/** Who is killed: the node that convenes, the node that leads, or one by name. */
export type VictimChoice = "convener" | "leader" | `n${number}`;

export interface DemoOptions {
  /** Absent: drawn from the seed. */
  readonly victim: VictimChoice | undefined;
  readonly seed: number;
  readonly directory: string;
}

export const NODE_COUNT = 3;
/** How long a node may take until it can serve, and the cluster until all nodes are on duty. */
export const START_MS_MAX = 30_000;
/** What the demo promises; it exits 0 only if all of it held. */
export const WRITE_GAP_MS_MAX = 1_000;
export const REPLACEMENT_MS_MAX = 10_000;
