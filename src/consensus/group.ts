// Owns: the port through which kvstore proposes and reads. group-driver.ts implements it.

export type ProposeOutcome =
  | { readonly kind: "applied"; readonly result: unknown }
  /** Nothing was proposed. */
  | {
      readonly kind: "refused";
      readonly code: "E_OVERLOADED" | "E_NO_QUORUM" | "E_UNAVAILABLE";
      readonly reason: string;
    }
  /** The node stops while the command is under way: it may or may not be applied. */
  | { readonly kind: "unknown"; readonly reason: string };

export type ReadOutcome =
  | { readonly kind: "ready" }
  | {
      readonly kind: "refused";
      readonly code: "E_OVERLOADED" | "E_NO_QUORUM" | "E_UNAVAILABLE";
      readonly reason: string;
    };

export interface GroupStatus {
  /** True when this node is admitted by a quorum, sees a quorum and has applied what was decided when it joined. */
  readonly isReady: boolean;
  readonly hasQuorum: boolean;
  /** Why it is not ready, for people. */
  readonly notReadyReason?: string;
  /** Slots [0, applied) are applied here. */
  readonly applied: number;
  /** Highest decided slot known + 1. */
  readonly decided: number;
  readonly convener: string | undefined;
  readonly quorum: { readonly need: number; readonly have: number };
}

/** One consensus group. Callbacks come after the turn of the call, exactly once. */
export interface Group {
  /** `command` is one MessagePack value. */
  propose(command: Uint8Array, done: (outcome: ProposeOutcome) => void): void;
  /** Calls back once the applied state covers every write acknowledged anywhere before this call. */
  readBarrier(done: (outcome: ReadOutcome) => void): void;
  status(): GroupStatus;
}
