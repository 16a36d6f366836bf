// Owns: the port of what consensus replicates. kvstore implements it; consensus never looks inside a command.
import type { AetherError } from "../base/errors.ts";

/**
 * One position of the log after it was applied: opaque to the state machine, stored in the same atomic write as its
 * state.
 */
export type ConsensusMark = Uint8Array;

/**
 * Calls back once every slot applied so far is in the journal, so that a checkpoint never runs ahead of the log; or
 * with "skip" when the group has stopped and that will not be.
 */
export type CheckpointGate = (ready: (decision: "write" | "skip") => void) => void;

/** The state of the last durable checkpoint, to be carried elsewhere in pieces; whatever is applied meanwhile. */
export interface SnapshotReader {
  /** Slots [0, appliedSlots) are in it. */
  readonly appliedSlots: number;
  readonly revision: number;
  readonly stateHash: number;
  readonly mark: ConsensusMark;
  /** About as much as all chunks have together; undefined when that is not known. */
  readonly bytesEstimated: number | undefined;
  /**
   * The next chunk, or undefined after the last one. One call at a time.
   * @throws AetherError E_DATA_CORRUPT when a row is damaged, E_UNAVAILABLE when this state is closed or replaced
   */
  next(): Promise<Uint8Array | undefined>;
  /** Idempotent. Until then the disk keeps what it reads. */
  close(): Promise<void>;
}

export interface InstalledSnapshot {
  readonly generation: number;
  /** Slots [0, appliedSlots) are in it. */
  readonly appliedSlots: number;
  readonly mark: ConsensusMark;
}

/** Takes the chunks of a snapshot, in order, beside the state that is used. */
export interface SnapshotWriter {
  /**
   * Checks a chunk at once and resolves when it is on disk. The next one may be given before that.
   * @throws AetherError E_DATA_CORRUPT, E_VERSION, E_DATA_FOREIGN when the chunk is refused: nothing of it was taken;
   * E_DISK
   */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * After the last chunk: makes the new generation count from the next start on. Until `install` or `abort` no
   * checkpoint of the present state is written.
   * @throws AetherError E_DATA_CORRUPT when chunks are missing, E_DISK
   */
  finish(): Promise<InstalledSnapshot>;
  /** After `finish`: from now on this is the state. The old generation is destroyed in the background. */
  install(): ConsensusMark;
  /** Removes what was written; also after `finish`, not after `install`. Idempotent. */
  abort(): Promise<void>;
}

export interface ReplicatedStateMachine {
  /** The mark of the state loaded from disk, or undefined when no slot was applied to it: a new one, or a backup. */
  readonly loadedMark: ConsensusMark | undefined;
  /** Which generation of the state was loaded: it rises with each snapshot that is installed. */
  readonly loadedGeneration: number;
  /** Digest of the backup that the state began with; undefined when it began empty. */
  readonly seedDigest: string | undefined;
  /** True when the stored state was set aside: nothing can be applied until a snapshot is installed. */
  readonly needsSnapshot: boolean;
  /** Why what is stored cannot be believed, as far as was noticed: nothing more is applied to it. */
  readonly damage: AetherError | undefined;
  /**
   * Applies one batch (a MessagePack array of commands, in order) and returns one result per command. Total: a
   * malformed command gives a refusal, alike on every replica, and never throws.
   */
  applyBatch(batch: Uint8Array): readonly unknown[];
  /**
   * Called after the last batch of a slot, with a function that makes the mark for a checkpoint at exactly this
   * point. Of slots that are applied together only the last one ends here.
   */
  endSlot(slot: number, makeMark: () => ConsensusMark): void;
  /** Sets who is asked before a checkpoint is written. The mark is made before, at the slot's end. */
  gateCheckpoints(gate: CheckpointGate): void;
  /** Called after each checkpoint that became durable: slots [0, appliedSlots) need no log any more. */
  onCheckpoint(listener: (appliedSlots: number) => void): void;
  /**
   * The last durable checkpoint, the first one when there is none yet; undefined when nothing was applied since the
   * state began.
   */
  openSnapshot(): Promise<SnapshotReader | undefined>;
  /** One at a time. */
  beginInstall(): SnapshotWriter;
  /**
   * The state is not to be believed: goes on empty, and needs a snapshot. What is stored stays on disk until that is
   * installed, and is found again by a start before.
   */
  setAside(): Promise<void>;
  /** A rolling hash over every change so far; equal on all replicas that applied the same slots. */
  readonly stateHash: number;
}
