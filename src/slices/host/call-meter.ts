// Ports only: no code here. Who counts the calls that a node makes and handles; `metrics` implements it.

export interface CallMeter {
  /** A call that ended. On every hot path: cheap, and never throws. */
  note(slice: string, method: string, outcome: "ok" | "failed", ms: number): void;
}
