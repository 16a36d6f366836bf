// Owns: the messages of the consensus protocol and what they mean. Does not own: their bytes (message-codec.ts).
//
// Slot and phase are different things: a slot is a position of the log, a phase a round of the agreement inside one
// slot.
import type { NodeUid } from "../../base/ids.ts";
import type { FirstVoter } from "./effects.ts";

/** (origin, incarnation, sequence): never a content hash, because two equal commands must both run. */
export interface BatchId {
  readonly origin: NodeUid;
  /** Durable counter of the origin, raised and fsynced at every start before its first message. */
  readonly incarnation: number;
  readonly sequence: number;
}

/** Text form of a BatchId, `origin.incarnation.sequence`: the key of every map of batches. */
export type BatchKey = string;

/** What a slot may be decided to contain: batch ids in a fixed order. Empty = NOOP. */
export interface Value {
  readonly batches: readonly BatchId[];
  /** Equal values have equal keys. */
  readonly key: string;
}

/** The outcome 0 of the paper: no majority proposed the same, the slot contains nothing. */
export const NULL_OUTCOME = 0;
/** The vote `?`: this node saw no quorum for one value. */
export const UNSURE = "?";

/** What a State says and what a slot is decided as. */
export type Outcome = Value | typeof NULL_OUTCOME;
/** What a Vote says. */
export type VoteChoice = Outcome | typeof UNSURE;

export type Ballot =
  | { readonly kind: "vote"; readonly slot: number; readonly phase: number; readonly choice: VoteChoice }
  | { readonly kind: "state"; readonly slot: number; readonly phase: number; readonly choice: Outcome };

export interface LogEntry {
  readonly slot: number;
  readonly outcome: Outcome;
  /** Content of the outcome's batches, in its order; undefined where the sender's dedupe table skips it. */
  readonly contents: readonly (Uint8Array | undefined)[];
}

/** The last durable write that somebody heard of, and the start that made it; nothing is known where it is "". */
export interface Heard {
  readonly startId: string;
  readonly writeNumber: number;
}

export type Message =
  /** Content, sent by the origin as soon as the batch closes: to every voter, or to the one that passes it on. */
  | { readonly kind: "batch"; readonly id: BatchId; readonly commands: Uint8Array }
  /** At most one per node and slot, for ever. Not fsynced. */
  | { readonly kind: "proposal"; readonly slot: number; readonly value: Value }
  /** At most one per node, slot and phase, for ever; durable before it is sent or counted. */
  | { readonly kind: "ballot"; readonly ballot: Ballot; readonly writeNumber: number }
  /** Answer to anything about a slot that is decided. */
  /** `heard`, from who gathered the votes: what it knows of each voter, in the order of their list. */
  | { readonly kind: "decision"; readonly slot: number; readonly outcome: Outcome; readonly heard?: readonly Heard[] }
  | { readonly kind: "pull-batches"; readonly ids: readonly BatchId[] }
  /** Asks for whatever the receiver has of these undecided slots. */
  | { readonly kind: "pull-slots"; readonly slots: readonly number[] }
  | { readonly kind: "pull-log"; readonly from: number }
  | { readonly kind: "log"; readonly from: number; readonly entries: readonly LogEntry[] }
  | {
      readonly kind: "status";
      /** Slots [0, applied) are applied. */
      readonly applied: number;
      /** Highest decided slot known + 1. */
      readonly decided: number;
      /** Highest slot durably voted in + 1. */
      readonly voted: number;
      /** D: undecided slots below it are in doubt for the sender. */
      readonly doubtBelow: number;
      /** Slots [0, synced) are on the sender's disk as applied. */
      readonly synced: number;
      /** The log of the sender begins here; earlier slots are only in its state. */
      readonly logStart: number;
      /** Hashes of the sender's state after some slots, the latest last. */
      readonly hashes: readonly StateHash[];
    }
  /** One round of linearizable reads. */
  | { readonly kind: "read-index"; readonly nonce: number }
  | { readonly kind: "read-index-reply"; readonly nonce: number; readonly voted: number }
  /** First message of a connection, both ways, repeated until both sides have met. */
  | {
      readonly kind: "hello";
      readonly uid: NodeUid;
      /** Random name of this start of the sender's process. */
      readonly startId: string;
      /** Number of the sender's first durable write of this start. */
      readonly startWrite: number;
      readonly doubtBelow: number;
      /** Random share of the cluster's secret; fixed with the uid. */
      readonly share: string;
      /** Digest of the fsynced list of first voters, once the sender has it. */
      readonly listDigest: string | undefined;
      readonly isFormed: boolean;
      /** The sender has not met this start of the receiver yet. */
      readonly wantsHello: boolean;
      /** Where peers reach the sender. */
      readonly address: string;
      /** The sender has an empty directory and asks to be made a member. */
      readonly isJoining: boolean;
      /** The highest version of a cluster that the sender's build can work with. */
      readonly supportedVersion: number;
      /** Digest of the state that the sender's directory was restored from. */
      readonly seed: string | undefined;
      /** How the cluster formed, for a receiver that has not been there. */
      readonly genesis: Genesis | undefined;
    }
  | { readonly kind: "hello-reply"; readonly startId: string; readonly refusal: Refusal | undefined };

export interface StateHash {
  readonly slot: number;
  readonly hash: number;
}

/** Everything the first voters agreed on. */
export interface Genesis {
  readonly windowSlots: number;
  readonly seed: string | undefined;
  readonly voters: readonly FirstVoter[];
}

/** Why a node does not accept another one: its data directory is not the one it had, or its build is too old. */
export interface Refusal {
  readonly code: "E_DATA_LOST" | "E_DATA_FOREIGN" | "E_REMOVED" | "E_VERSION";
  readonly message: string;
  /**
   * Both belong to the same cluster, and the refuser remembers a later write of this very voter: one such answer is
   * enough. Any other refusal could come from a voter that is itself the wrong one.
   */
  readonly isProof: boolean;
}

export function batchKeyOf(id: BatchId): BatchKey {
  return `${id.origin}.${id.incarnation}.${id.sequence}`;
}

export function sequenceOf(key: BatchKey): number {
  return Number(key.slice(key.lastIndexOf(".") + 1));
}

export function valueOf(batches: readonly BatchId[]): Value {
  return { batches, key: batches.map(batchKeyOf).join(",") };
}

/** The value of a slot that only closes a gap. */
export const NOOP: Value = { batches: [], key: "" };

/** A text equal for equal outcomes and choices and different for different ones. */
export function choiceKeyOf(choice: VoteChoice): string {
  if (choice === NULL_OUTCOME) return "0";
  if (choice === UNSURE) return "?";
  return `v${choice.key}`;
}
