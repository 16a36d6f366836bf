// Owns: what slices have of jobs of agents: `ctx.agents`. Types only.
import type { z } from "zod";
import type { Budget } from "./budget.ts";
import type { ChildAgent } from "./job.ts";
import type { Signal } from "./signal.ts";
import type { StateCallOptions } from "./slice-state.ts";

export interface StartJobOptions extends StateCallOptions {
  /** Id of the job; the same again is the same job. */
  readonly id?: string;
  /**
   * The same key again, from whoever starts jobs of this agent, is the same job. Without it a call that has a key of
   * its own gives each start in it one: a handler that runs again for that call starts no second job.
   */
  readonly idempotencyKey?: string;
  /** To find it by: at most 16 names and values of 256 characters. */
  readonly attributes?: Readonly<Record<string, string>>;
  /** Higher goes first; 0 unless said otherwise. */
  readonly priority?: number;
  /** What it may spend; of what is left out as much as its agent says. */
  readonly budget?: Budget;
}

export interface StartedJobOfSlice {
  readonly id: string;
  /** False when the id or the key was used before, with the same input. */
  readonly isNew: boolean;
}

export interface SignalJobOptions extends StateCallOptions {
  /** The same key again is the same signal; a call that has a key of its own gives each signal in it one. */
  readonly idempotencyKey?: string;
}

export interface SliceAgents {
  /**
   * Starts a job and does not wait for it.
   * @throws AetherError E_NOT_FOUND for an agent that nobody has, E_CONFLICT when id or key had another input,
   *   E_OVERLOADED when too many jobs wait; after E_TIMEOUT it may have been started: with the same id or key it is
   *   not started again
   */
  start<I extends z.ZodType>(
    agent: ChildAgent<I>, input: z.input<I>, options?: StartJobOptions,
  ): Promise<StartedJobOfSlice>;
  start(agent: string, input: unknown, options?: StartJobOptions): Promise<StartedJobOfSlice>;
  /**
   * Sends a job a signal; it is kept until the job waits for one of its name.
   * @throws AetherError E_NOT_FOUND, E_CONFLICT when the job has ended, E_OVERLOADED above 1,000 unread ones
   */
  signal<P extends z.ZodType>(
    job: string, signal: Signal<string, P>, payload: NoInfer<z.input<P>>, options?: SignalJobOptions,
  ): Promise<void>;
}
