// Owns: what a run of the agents' demo can be told.

export interface AgentDemoOptions {
  readonly jobs: number;
  /** For so long nodes are killed, and longer when it were too few by then. */
  readonly seconds: number;
  /** At least so many, half of them in the middle of a refund. */
  readonly kills: number;
  readonly seed: number;
  readonly directory: string;
}

export const AGENT_DEMO = { jobs: 200, seconds: 60, kills: 20 } as const;
