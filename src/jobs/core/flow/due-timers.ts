// Owns: which timers of jobs are due, from the first rows of their index, which is in the order of due times.

/** A row of the index, as its key names it. */
export interface TimerDue {
  readonly dueMs: number;
}

export interface DueTimers<T extends TimerDue> {
  /** In the order in which they are due. */
  readonly fire: readonly T[];
  /** When the next one is due, by the wall clock; undefined when there is none. */
  readonly nextDueMs: number | undefined;
}

/** Never before its time (JOB10): a timer that is due in this very millisecond fires. */
export function dueNow<T extends TimerDue>(inOrder: readonly T[], wallMs: number): DueTimers<T> {
  const at = inOrder.findIndex(({ dueMs }) => dueMs > wallMs);
  if (at === -1) return { fire: inOrder, nextDueMs: undefined };
  return { fire: inOrder.slice(0, at), nextDueMs: inOrder[at]?.dueMs };
}
