// Owns: the port of what consensus replicates. kvstore implements it; consensus never looks inside a command.

/**
 * One position of the log after it was applied: opaque to the state machine, stored in the same atomic write as its
 * state.
 */
export type ConsensusMark = Uint8Array;

/**
 * Calls back once every slot applied so far is in the journal, so that a checkpoint never runs ahead of the log; or
 * with
 * "skip" when the group has stopped and that will not be.
 */
export type CheckpointGate = (ready: (decision: "write" | "skip") => void) => void;

export interface ReplicatedStateMachine {
  /** The mark of the state loaded from disk, or undefined when the state is new. */
  readonly loadedMark: ConsensusMark | undefined;
  /**
   * Applies one batch (a MessagePack array of commands, in order) and returns one result per command. Total: a
   * malformed
   * command gives a refusal, alike on every replica, and never throws.
   */
  applyBatch(batch: Uint8Array): readonly unknown[];
  /**
   * Called after the last batch of a slot, with a function that makes the mark for a checkpoint at exactly this
   * point. Of
   * slots that are applied together only the last one ends here.
   */
  endSlot(slot: number, makeMark: () => ConsensusMark): void;
  /** Sets who is asked before a checkpoint is written. The mark is made before, at the slot's end. */
  gateCheckpoints(gate: CheckpointGate): void;
  /** A rolling hash over every change so far; equal on all replicas that applied the same slots. */
  readonly stateHash: number;
}
