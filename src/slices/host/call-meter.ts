// Ports only: no code here. Who counts the calls that a node makes and handles; `metrics` implements it.

/** `refused`: a failure as well, because something was full. */
export type CallOutcome = "ok" | "failed" | "refused";

export interface CallMeter {
  /** A call that ended. On every hot path: cheap, and never throws. */
  note(slice: string, method: string, outcome: CallOutcome, ms: number): void;
}
