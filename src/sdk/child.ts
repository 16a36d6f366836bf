// Owns: what an agent's code says of jobs that it starts itself, and how it knows that one of them did not complete.
import type { Budget } from "./budget.ts";
import type { Duration } from "./duration.ts";

export interface ChildOptions {
  /** Names the call; without it the agent's name does. */
  readonly name?: string;
  /** Tells calls of one name apart that run at the same time: of letters, digits and " ._:-". */
  readonly key?: string;
  /** How long to wait for it: then the call fails with `ChildFailed`, and the child is cancelled. */
  readonly timeout?: Duration;
  /**
   * What it may spend; of what this job may spend, where that is limited. Without it, and without one in the child's
   * agent: all that this job has left.
   */
  readonly budget?: Budget;
}

export interface DetachedChildOptions extends Omit<ChildOptions, "timeout"> {
  /** The child goes on by itself, whatever becomes of this job. */
  readonly detached: true;
}

/** A child that was started and that nobody waits for. */
export interface StartedChild {
  /** Id of its job. */
  readonly id: string;
}

/** What `job.child` throws when the child did not complete. */
export interface ChildFailed extends Error {
  readonly name: "ChildFailed";
  /** That of the child's own error, if it has one; `E_TIMEOUT` when its time was over. */
  readonly code?: string;
  readonly details: {
    readonly agent: string;
    readonly status: "failed" | "cancelled" | "timed-out";
    /** Id of the child's job; not known of one that timed out. */
    readonly job?: string;
    /** What the child failed with. */
    readonly error?: { readonly name: string; readonly message: string; readonly code?: string };
  };
}

/**
 * Whether a child of this job did not complete, in a `catch` around `job.child`.
 * @example
 * try {
 *   return await job.child(audit, { order });
 * } catch (error) {
 *   if (!isChildFailed(error) || error.details.status === "cancelled") throw error;
 *   return { audited: false, because: error.message };
 * }
 */
export function isChildFailed(error: unknown): error is ChildFailed {
  return error instanceof Error && error.name === "ChildFailed" && "details" in error;
}
